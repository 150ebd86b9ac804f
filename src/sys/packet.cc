#include "sys/packet.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace glovebox::sys {

namespace {
constexpr std::size_t kMaxFds = 32;
union Control {
  cmsghdr align;
  char bytes[CMSG_SPACE(kMaxFds * sizeof(int))];
};
}  // namespace

Result<void> send_packet(int socket, std::string_view bytes, const std::vector<int>& fds,
                         int flags) {
  if (fds.size() > kMaxFds) return Error{Code::invalid, "too many descriptors for one message"};
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control{};
  if (!fds.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t n;
  while ((n = ::sendmsg(socket, &message, flags | MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  if (n < 0) return sys_error("send message");
  return ok;
}

Result<Packet> receive_packet(int socket, std::size_t limit, std::size_t max_fds) {
  ssize_t size;  // first its length: messages are short, and the limit is not
  while ((size = ::recv(socket, nullptr, 0, MSG_PEEK | MSG_TRUNC)) < 0 && errno == EINTR) {
  }
  if (size < 0) return sys_error("receive message");
  Packet packet;
  packet.bytes.resize(std::min(static_cast<std::size_t>(size), limit));
  iovec part{packet.bytes.data(), packet.bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control{};
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  ssize_t n;
  while ((n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (n < 0) return sys_error("receive message");
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
      packet.fds.emplace_back(fd);
    }
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || packet.fds.size() > max_fds)
    return Error{Code::too_large, "message too large"};
  packet.bytes.resize(static_cast<std::size_t>(n));
  return packet;
}

}  // namespace glovebox::sys

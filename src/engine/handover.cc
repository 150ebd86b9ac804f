#include "engine/handover.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "sys/packet.h"
#include "sys/unix_socket.h"

namespace glovebox::engine {

namespace {

constexpr timeval kPatience{5, 0};
constexpr std::size_t kAnswer = 1024;

// What stands at the path may be a link to somebody else's socket: the directory is not ours.
Result<void> check_owner(int socket, const std::string& path) {
  struct stat directory{};
  if (::stat(path.substr(0, path.rfind('/')).c_str(), &directory) < 0)
    return sys_error("folder of the socket");
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
    return sys_error("who listens");
  if (peer.uid != directory.st_uid)
    return Error{Code::forbidden,
                 str("user ", peer.uid, " listens at ", path, ", which is not its")};
  return ok;
}

Code code_of(std::string_view word) {
  for (int i = 0; i <= static_cast<int>(Code::internal); ++i)
    if (word == name(static_cast<Code>(i))) return static_cast<Code>(i);
  return Code::internal;
}

}  // namespace

Result<Fd> connect_part(const std::string& path) {
  auto socket = sys::connect_unix(path, SOCK_SEQPACKET);
  if (!socket) {
    socket.error().code = Code::unavailable;
    return std::move(socket.error());
  }
  TRY_DO(check_owner(socket->get(), path));
  return socket;
}

Result<void> hand_over(const std::string& path, const std::string& line,
                       const std::vector<int>& fds) {
  TRY(socket, connect_part(path));
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  TRY_DO(sys::send_packet(socket.get(), line, fds, 0), "hand over");
  auto answer = sys::receive_packet(socket.get(), kAnswer, 0);
  if (!answer || answer->bytes.empty()) return Error{Code::unavailable, "it gives no answer"};
  if (answer->bytes == "ok") return ok;
  const std::size_t space = answer->bytes.find(' ');
  return Error{code_of(answer->bytes.substr(0, space)),
               space == std::string::npos ? answer->bytes : answer->bytes.substr(space + 1)};
}

}  // namespace glovebox::engine

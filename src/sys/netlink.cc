#include "sys/netlink.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace glovebox::sys {

namespace {

constexpr int kAnswerLimitMs = 30'000;  // answers are there at once; a limit all the same
constexpr int kSendBuffer = 16 << 20;   // a transaction is one message: rules of 2,000 boxes fit

std::size_t aligned(std::size_t size) { return (size + 3) & ~std::size_t{3}; }

nlmsghdr header_at(const std::string& data, std::size_t at) {
  nlmsghdr header;
  std::memcpy(&header, data.data() + at, sizeof header);
  return header;
}

Result<std::string> receive(int socket) {
  pollfd event{socket, POLLIN, 0};
  for (;;) {
    int ready = ::poll(&event, 1, kAnswerLimitMs);
    if (ready == 0) return Error{Code::timeout, "netlink: no answer"};
    if (ready < 0 && errno != EINTR) return sys_error("netlink: poll");
    if (ready > 0) break;
  }
  std::string buffer(256 * 1024, '\0');
  ssize_t n;
  while ((n = ::recv(socket, buffer.data(), buffer.size(), 0)) < 0 && errno == EINTR) {
  }
  if (n < 0) return sys_error("netlink: receive");
  buffer.resize(static_cast<std::size_t>(n));
  return buffer;
}

// The messages of one datagram, as far as they are whole.
template <class Each>
void each_message(const std::string& datagram, Each each) {
  std::size_t at = 0;
  while (at + sizeof(nlmsghdr) <= datagram.size()) {
    nlmsghdr header = header_at(datagram, at);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size() - at) return;
    each(header,
         std::string_view(datagram).substr(at + sizeof header, header.nlmsg_len - sizeof header));
    at += aligned(header.nlmsg_len);
  }
}

int error_of(std::string_view payload) {
  int error = EPROTO;
  if (payload.size() >= sizeof error) {
    std::memcpy(&error, payload.data(), sizeof error);
    error = -error;
  }
  return error;
}

}  // namespace

NetlinkBatch& NetlinkBatch::message(std::uint16_t type, std::uint16_t flags,
                                    std::string_view header, std::string about) {
  last_ = data_.size();
  nlmsghdr start{};
  start.nlmsg_type = type;
  start.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
  abouts_.push_back(std::move(about));
  data_.append(reinterpret_cast<const char*>(&start), sizeof start);
  return append(header);
}

NetlinkBatch& NetlinkBatch::append(std::string_view bytes) {
  data_ += bytes;
  data_.resize(aligned(data_.size()));
  auto length = static_cast<std::uint32_t>(data_.size() - last_);
  std::memcpy(data_.data() + last_, &length, sizeof length);
  return *this;
}

NetlinkBatch& NetlinkBatch::bytes(std::uint16_t attribute, std::string_view value) {
  std::size_t at = data_.size();
  data_.resize(at + 4);
  append(value);
  // The length is the value's own: without what aligns the next one.
  auto length = static_cast<std::uint16_t>(4 + value.size());
  std::memcpy(data_.data() + at, &length, 2);
  std::memcpy(data_.data() + at + 2, &attribute, 2);
  return *this;
}
NetlinkBatch& NetlinkBatch::text(std::uint16_t attribute, std::string_view value) {
  return bytes(attribute, str(value, '\0'));
}
NetlinkBatch& NetlinkBatch::u8(std::uint16_t attribute, std::uint8_t value) {
  return bytes(attribute, bytes_of(value));
}
NetlinkBatch& NetlinkBatch::u32(std::uint16_t attribute, std::uint32_t value) {
  return bytes(attribute, bytes_of(value));
}
NetlinkBatch& NetlinkBatch::be32(std::uint16_t attribute, std::uint32_t value) {
  return u32(attribute, htonl(value));
}
NetlinkBatch& NetlinkBatch::be64(std::uint16_t attribute, std::uint64_t value) {
  std::uint64_t swapped = htobe64(value);
  return bytes(attribute, bytes_of(swapped));
}

NetlinkBatch& NetlinkBatch::want_answer() {
  nlmsghdr header = header_at(data_, last_);
  header.nlmsg_flags |= NLM_F_ACK;
  std::memcpy(data_.data() + last_, &header, sizeof header);
  return *this;
}

std::size_t NetlinkBatch::open(std::uint16_t attribute) {
  std::size_t at = data_.size();
  bytes(static_cast<std::uint16_t>(attribute | NLA_F_NESTED), {});
  return at;
}
void NetlinkBatch::close(std::size_t at) {
  auto length = static_cast<std::uint16_t>(data_.size() - at);
  std::memcpy(data_.data() + at, &length, 2);
}

Result<Netlink> Netlink::open(int protocol) {
  Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!socket) return sys_error("netlink");
  return Netlink(std::move(socket));
}

Result<void> Netlink::send(NetlinkBatch& batch) {
  // Numbered here, so that answers to an earlier batch that failed half way are known as such.
  for (std::size_t at = 0; at < batch.data_.size();) {
    nlmsghdr header = header_at(batch.data_, at);
    header.nlmsg_seq = seq_++;
    std::memcpy(batch.data_.data() + at, &header, sizeof header);
    at += aligned(header.nlmsg_len);
  }
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer);
  ssize_t n;
  while ((n = ::send(socket_.get(), batch.data_.data(), batch.data_.size(), 0)) < 0 &&
         errno == EINTR) {
  }
  if (n < 0) return sys_error("netlink: send");
  return ok;
}

Result<void> Netlink::apply(NetlinkBatch batch) {
  if (batch.empty()) return ok;
  std::uint32_t first = seq_;
  // Of a transaction only one message asks for an answer, and of the others only errors are told.
  std::uint32_t last = first;
  for (std::size_t at = 0, i = 0; at < batch.data_.size(); ++i) {
    nlmsghdr header = header_at(batch.data_, at);
    if (header.nlmsg_flags & NLM_F_ACK) last = first + static_cast<std::uint32_t>(i);
    at += aligned(header.nlmsg_len);
  }
  TRY_DO(send(batch));
  Result<void> result = ok;
  for (bool done = false; !done;) {
    TRY(datagram, receive(socket_.get()));
    each_message(datagram, [&](const nlmsghdr& header, std::string_view payload) {
      std::uint32_t place = header.nlmsg_seq - first;
      if (header.nlmsg_type != NLMSG_ERROR || place >= batch.size()) return;
      int error = error_of(payload);
      if (error && result)
        result = sys_error(batch.abouts_[place].empty() ? "netlink" : batch.abouts_[place], error);
      // All of it was done before send() returned: what else is said of it is not waited for.
      done |= error || header.nlmsg_seq == last;
    });
  }
  return result;
}

Result<std::vector<NetlinkMessage>> Netlink::dump(NetlinkBatch request) {
  std::uint32_t seq = seq_;
  TRY_DO(send(request));
  std::vector<NetlinkMessage> found;
  Result<void> result = ok;
  for (bool done = false; !done;) {
    TRY(datagram, receive(socket_.get()));
    each_message(datagram, [&](const nlmsghdr& header, std::string_view payload) {
      if (header.nlmsg_seq != seq || done) return;
      if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
        done = true;
        if (int error = error_of(payload); header.nlmsg_type == NLMSG_ERROR && error)
          result = sys_error(request.abouts_[0].empty() ? "netlink" : request.abouts_[0], error);
      } else {
        found.push_back({header.nlmsg_type, std::string(payload)});
        // Without NLM_F_MULTI it is the only one.
        done |= !(header.nlmsg_flags & NLM_F_MULTI);
      }
    });
  }
  if (!result) return std::move(result.error());
  return found;
}

}  // namespace glovebox::sys

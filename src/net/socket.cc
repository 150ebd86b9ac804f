#include "net/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>

#include "net/deadline.h"
#include "net/waiter.h"

namespace glovebox::net {
namespace {

Error broken(std::string_view doing, int errno_value) {
  Error error = sys_error(std::string(doing), errno_value);
  error.code = Code::unavailable;
  return error;
}

class SocketStream final : public Stream {
 public:
  SocketStream(std::shared_ptr<Descriptor> socket, Watched& watched, std::string peer, bool is_tcp)
      : socket_(std::move(socket)), watched_(&watched), peer_(std::move(peer)), is_tcp_(is_tcp) {}
  ~SocketStream() override { socket_->close(); }

  Task<std::size_t> read_some(std::span<char> into, Millis limit) override {
    return read(socket_, watched_, is_tcp_, into, limit);
  }
  Task<void> write_all(std::string_view bytes, Millis limit) override {
    return write(socket_, watched_, bytes, limit);
  }
  Task<char> peek(Millis limit) override { return look(socket_, watched_, limit); }
  void shutdown_write() override {
    if (!socket_->closed()) ::shutdown(socket_->get(), SHUT_WR);
  }
  void close() override { socket_->close(); }
  std::string peer() const override { return peer_; }
  int socket() const override { return socket_->get(); }

  std::size_t write_now(std::string_view bytes) override {
    if (socket_->closed()) return 0;
    ssize_t sent = ::send(socket_->get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }
  bool idle() const override {
    if (socket_->closed()) return false;
    // The socket itself is asked: of what came in this turn the loop has not heard yet.
    char byte;
    return ::recv(socket_->get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }

 private:
  // A socket that always has something would otherwise keep the loop for itself.
  static constexpr int kTurn = 64;
  static constexpr auto kReading = Descriptor::For::reading;

  // The coroutines hold the descriptor, not the stream: the stream may be dropped while they wait.
  static Task<std::size_t> read(std::shared_ptr<Descriptor> socket, Watched* watched, bool is_tcp,
                                std::span<char> into, Millis limit) {
    thread_local int turn = 0;
    if (++turn % kTurn == 0) CO_TRY_DO(co_await yield());
    Deadline deadline(limit);
    for (;;) {
      if (socket->closed()) co_return Error{Code::cancelled, "closed"};
      if (watched->may_have(kReading)) {
        ssize_t got = ::recv(socket->get(), into.data(), into.size(), MSG_DONTWAIT);
        const auto size = static_cast<std::size_t>(got);
        // Less than there was room for is all there was. (Unix sockets also stop between writers.)
        if (is_tcp && got > 0 && size < into.size()) watched->found_nothing(kReading);
        if (got >= 0) co_return size;
        if (errno == EINTR) continue;
        if (errno != EAGAIN) co_return broken("read", errno);
        watched->found_nothing(kReading);
      }
      CO_TRY_DO(co_await Watched::sleep(socket, watched, kReading, deadline.left()), "read");
    }
  }

  static Task<char> look(std::shared_ptr<Descriptor> socket, Watched* watched, Millis limit) {
    Deadline deadline(limit);
    for (;;) {
      if (socket->closed()) co_return Error{Code::cancelled, "closed"};
      char byte = 0;
      ssize_t got = ::recv(socket->get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (got > 0) co_return byte;
      if (got == 0) co_return Error{Code::gone, "closed by the other side"};
      if (errno == EINTR) continue;
      if (errno != EAGAIN) co_return broken("read", errno);
      CO_TRY_DO(co_await Watched::sleep(socket, watched, kReading, deadline.left()), "read");
    }
  }

  static Task<void> write(std::shared_ptr<Descriptor> socket, Watched* watched,
                          std::string_view bytes, Millis limit) {
    Deadline deadline(limit);
    while (!bytes.empty()) {
      if (socket->closed()) co_return Error{Code::cancelled, "closed"};
      ssize_t sent = ::send(socket->get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
        continue;
      }
      if (errno == EINTR) continue;
      if (errno != EAGAIN) co_return broken("write", errno);
      CO_TRY_DO(co_await Watched::sleep(socket, watched, Descriptor::For::writing, deadline.left()),
                "write");
    }
    co_return ok;
  }

  std::shared_ptr<Descriptor> socket_;
  Watched* watched_;
  std::string peer_;
  bool is_tcp_;
};

}  // namespace

Task<char> Stream::peek(Millis) {
  co_return Error{Code::unsupported, "this stream cannot be looked into"};
}

SockAddr unix_address(const std::string& path) {
  SockAddr address;
  auto& un = reinterpret_cast<sockaddr_un&>(address.storage);
  un.sun_family = AF_UNIX;
  path.copy(un.sun_path, sizeof un.sun_path - 1);
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

Address to_address(const SockAddr& address) {
  Address result;
  char text[INET6_ADDRSTRLEN] = "";
  if (address.storage.ss_family == AF_INET) {
    auto& in = reinterpret_cast<const sockaddr_in&>(address.storage);
    result.host = ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    result.port = ntohs(in.sin_port);
  } else if (address.storage.ss_family == AF_INET6) {
    auto& in = reinterpret_cast<const sockaddr_in6&>(address.storage);
    result.host = ::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    result.port = ntohs(in.sin6_port);
  } else if (address.storage.ss_family == AF_UNIX &&
             address.size > offsetof(sockaddr_un, sun_path)) {
    auto& un = reinterpret_cast<const sockaddr_un&>(address.storage);
    result.unix_path = std::string(un.sun_path, ::strnlen(un.sun_path, sizeof un.sun_path));
  }
  return result;
}

Result<std::unique_ptr<Stream>> make_stream(std::shared_ptr<Descriptor> connected) {
  SockAddr peer;
  if (::getpeername(connected->get(), peer.get(), &peer.size) < 0)
    return broken("getpeername", errno);
  bool is_tcp = peer.storage.ss_family == AF_INET || peer.storage.ss_family == AF_INET6;
  if (is_tcp) {
    // Our writes are whole messages; waiting to merge them would only cost 40 ms.
    int on = 1;
    ::setsockopt(connected->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  Watched* watched = Watched::at(connected->get());
  if (!watched) return Error{Code::internal, "a socket of another thread's loop"};
  return std::make_unique<SocketStream>(std::move(connected), *watched,
                                        is_tcp ? to_address(peer).text() : "unix", is_tcp);
}

Result<std::unique_ptr<Stream>> make_stream(boost::asio::any_io_executor executor, Fd connected) {
  TRY(socket, Descriptor::open(std::move(executor), std::move(connected)));
  return make_stream(std::move(socket));
}

Result<std::unique_ptr<Stream>> adopt(Loop& loop, Fd connected) {
  return make_stream(loop.executor(), std::move(connected));
}

}  // namespace glovebox::net

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <cerrno>

#include "net/deadline.h"
#include "net/socket.h"
#include "net/task.h"

namespace asio = boost::asio;

namespace glovebox::net {
namespace {

struct Lookup {
  std::vector<SockAddr> found;
  std::string error;
  bool ended = false;
  Event end;
};

// getaddrinfo cannot be interrupted: on time-out its thread finishes alone and the shared Lookup
// takes the answer.
Task<std::vector<SockAddr>> resolve(std::string host, int port, Millis limit) {
  auto lookup = std::make_shared<Lookup>();
  asio::ip::tcp::resolver resolver(co_await asio::this_coro::executor);
  auto flags =
      asio::ip::resolver_base::numeric_service | asio::ip::resolver_base::address_configured;
  if (host == "localhost")
    flags = asio::ip::resolver_base::numeric_service;  // also with no network but loopback
  resolver.async_resolve(host, std::to_string(port), flags,
                         [lookup](boost::system::error_code error, auto results) {
                           if (error) lookup->error = error.message();
                           for (const auto& entry : results) {
                             SockAddr address;
                             auto endpoint = entry.endpoint();
                             address.size = static_cast<socklen_t>(endpoint.size());
                             std::memcpy(&address.storage, endpoint.data(), endpoint.size());
                             lookup->found.push_back(address);
                           }
                           lookup->ended = true;
                           lookup->end.notify();
                         });
  Deadline deadline(limit);
  while (!lookup->ended) CO_TRY_DO(co_await lookup->end.wait(deadline.left()), "look up ", host);
  if (lookup->found.empty())
    co_return Error{Code::unavailable, str("look up ", host, ": ", lookup->error)};
  co_return lookup->found;
}

// Names of this machine by their meaning (RFC 6761): a name server that is asked may not know them,
// or say anything.
bool is_below_localhost(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  return lower(host).ends_with(".localhost");
}

Result<SockAddr> numeric(const Address& address) {
  boost::system::error_code error;
  auto ip = asio::ip::make_address(address.host, error);
  if (error) return Error{Code::not_found, "not a number"};
  asio::ip::tcp::endpoint endpoint(ip, static_cast<std::uint16_t>(address.port));
  SockAddr result;
  result.size = static_cast<socklen_t>(endpoint.size());
  std::memcpy(&result.storage, endpoint.data(), endpoint.size());
  return result;
}

Error unreachable(int errno_value) {
  Error error = sys_error("connect", errno_value);
  error.code =
      Code::unavailable;  // whatever the reason, ENOENT included: the other side is not there
  return error;
}

Task<std::unique_ptr<Stream>> connect_to(SockAddr address, Millis limit) {
  Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) co_return sys_error("socket");
  co_return co_await connect_socket(std::move(fd), address, limit);
}

}  // namespace

Task<std::unique_ptr<Stream>> connect_socket(Fd fd, SockAddr address, Millis limit) {
  CO_TRY(socket, co_await connect_descriptor(std::move(fd), address, limit));
  co_return make_stream(std::move(socket));
}

Task<std::shared_ptr<Descriptor>> connect_descriptor(Fd fd, SockAddr address, Millis limit) {
  auto executor = co_await asio::this_coro::executor;
  // Watched before it connects, and never through a duplicate: epoll would keep an entry for the
  // one that stays open.
  CO_TRY(socket, Descriptor::open(executor, std::move(fd)));
  if (::connect(socket->get(), address.get(), address.size) == 0) co_return socket;
  // A Unix socket whose backlog is full says EAGAIN at once and has nothing to wait for.
  if (errno != EINPROGRESS) co_return unreachable(errno);
  CO_TRY_DO(co_await Descriptor::wait(socket, Descriptor::For::writing, limit), "connect");
  int failed = 0;
  socklen_t size = sizeof failed;
  ::getsockopt(socket->get(), SOL_SOCKET, SO_ERROR, &failed, &size);
  if (failed) co_return unreachable(failed);
  co_return socket;
}

Task<std::unique_ptr<Stream>> connect(Address address, Millis limit, Reach reach) {
  const Error not_public{Code::forbidden, str(address.text(), ": not an address of the internet"),
                         "NOT_PUBLIC"};
  if (!address.unix_path.empty()) {
    if (reach == Reach::public_only) co_return not_public;
    CO_TRY(stream, co_await connect_to(unix_address(address.unix_path), limit), address.text());
    co_return stream;
  }
  Deadline deadline(limit);
  std::vector<SockAddr> candidates;
  if (auto number = numeric(address)) {
    candidates.push_back(*number);
  } else if (is_below_localhost(address.host)) {
    for (const char* own : {"127.0.0.1", "::1"})
      candidates.push_back(*numeric({.host = own, .port = address.port}));
  } else {
    CO_TRY(found, co_await resolve(address.host, address.port, limit));
    candidates = std::move(found);
  }
  // One that is not is enough: a name that means both is no honest one.
  if (reach == Reach::public_only)
    for (const SockAddr& candidate : candidates)
      if (!to_address(candidate).is_public()) co_return not_public;
  Error last{Code::unavailable, "no address"};
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    // An address that swallows packets may take its share of the time, not all of it.
    auto share = deadline.left() / static_cast<int>(candidates.size() - i);
    auto stream = co_await connect_to(candidates[i], share);
    if (stream) co_return stream;
    last = std::move(stream.error());
    if (last.code == Code::cancelled) break;
  }
  co_return std::move(last).with(address.text());
}

}  // namespace glovebox::net

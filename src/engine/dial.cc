// A connection to a port inside a box. It is made in the box's own network namespace, so it works
// whatever the box may do with the outside, and whatever is exposed.

#include <netinet/in.h>

#include <algorithm>

#include "engine/core.h"
#include "net/deadline.h"
#include "net/socket.h"
#include "net/task.h"
#include "sys/inside.h"

namespace glovebox::engine {

namespace {

net::SockAddr loopback(int family, int port) {
  net::SockAddr address;
  if (family == AF_INET6) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(static_cast<std::uint16_t>(port));
    in6->sin6_addr = in6addr_loopback;
    address.size = sizeof *in6;
  } else {
    auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(static_cast<std::uint16_t>(port));
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.size = sizeof *in;
  }
  return address;
}

}  // namespace

Task<std::unique_ptr<net::Stream>> Core::dial(std::string id_or_name, int port, Millis limit) {
  CO_TRY(socket, co_await dial_socket(std::move(id_or_name), port, limit));
  co_return net::make_stream(std::move(socket));
}

Task<std::shared_ptr<net::Descriptor>> Core::dial_socket(std::string id_or_name, int port,
                                                         Millis limit) {
  auto box = find(id_or_name);
  if (!box || box->pid == 0) co_return Error{Code::gone, "the sandbox is not running"};
  const std::string id = box->record.id;
  const pid_t pid = box->pid;
  const net::Deadline deadline(limit);
  Error refused{Code::unavailable, ""};
  // Servers that were told to listen on "localhost" may have taken only one of the two.
  for (int family : {AF_INET, AF_INET6}) {
    auto made = std::make_shared<Fd>();
    std::function<Result<void>()> make = [this, made, id, pid, family]() -> Result<void> {
      TRY(process, first_process(id, pid));
      TRY(socket, sys::socket_inside(process.get(), family, SOCK_STREAM | SOCK_NONBLOCK));
      *made = std::move(socket);
      return ok;
    };
    auto there = co_await pool.run(std::move(make));
    // A box without version 6 is one that refused version 4 already.
    if (!there && family == AF_INET6) break;
    if (!there) co_return std::move(there.error());
    auto socket =
        co_await net::connect_descriptor(std::move(*made), loopback(family, port), deadline.left());
    if (socket || socket.error().code != Code::unavailable) co_return socket;
  }
  co_return Error{Code::unavailable,
                  str("nothing listens on port ", port, " of the sandbox's loopback"),
                  "CONNECTION_REFUSED"};
}

}  // namespace glovebox::engine

// What listener.cc and connect.cc share about sockets.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include "net/descriptor.h"
#include "net/stream.h"

namespace glovebox::net {

struct SockAddr {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};
SockAddr unix_address(const std::string& path);
Address to_address(const SockAddr& address);

// Connects a socket that was made elsewhere (in another network namespace). Code::unavailable where
// nobody listens.
Task<std::unique_ptr<Stream>> connect_socket(Fd socket, SockAddr address, Millis limit);
// The same, for handing it on.
Task<std::shared_ptr<Descriptor>> connect_descriptor(Fd socket, SockAddr address, Millis limit);

// A connected socket as a stream.
Result<std::unique_ptr<Stream>> make_stream(std::shared_ptr<Descriptor> connected);
Result<std::unique_ptr<Stream>> make_stream(boost::asio::any_io_executor executor, Fd connected);

}  // namespace glovebox::net

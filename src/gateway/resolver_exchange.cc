#include "gateway/resolver_exchange.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "base/random.h"
#include "net/deadline.h"
#include "net/descriptor.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

constexpr Millis kPerServer{1'700}, kPerStream{4'000};
constexpr std::size_t kServers = 3;
constexpr int kDnsPort = 53;

std::uint16_t random_number() {
  std::uint16_t number;
  std::memcpy(&number, random_bytes(2).data(), 2);
  return number;
}

// Of a port of its own: to forge an answer both that and the id must be guessed.
Result<Fd> socket_to(const net::Address& server) {
  sockaddr_storage storage{};
  auto* four = reinterpret_cast<sockaddr_in*>(&storage);
  auto* six = reinterpret_cast<sockaddr_in6*>(&storage);
  socklen_t size = sizeof *four;
  if (::inet_pton(AF_INET, server.host.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(static_cast<std::uint16_t>(server.port));
  } else if (::inet_pton(AF_INET6, server.host.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(static_cast<std::uint16_t>(server.port));
    size = sizeof *six;
  } else {
    return Error{Code::invalid, str(server.host, ": no address of a name server")};
  }
  Fd socket(::socket(storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket || ::connect(socket.get(), reinterpret_cast<sockaddr*>(&storage), size) < 0)
    return sys_error("name server " + server.text());
  return socket;
}

Task<std::string> ask_by_datagram(net::Address server, dns::Query query) {
  const std::uint16_t id = random_number();
  CO_TRY(socket, socket_to(server));
  std::string message = dns::with_id(query.message, id);
  if (::send(socket.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0)
    co_return sys_error("name server " + server.text());
  std::string answer;
  for (net::Deadline deadline(kPerServer);;) {
    CO_TRY_DO(co_await net::readable(socket.get(), deadline.left()), "name server ", server.text());
    answer.resize(dns::kMaxMessage);
    ssize_t n = ::recv(socket.get(), answer.data(), answer.size(), 0);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
      co_return sys_error("name server " + server.text());
    answer.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    if (dns::answers(answer, query, id)) co_return answer;
  }
}

Task<void> read_whole(net::Stream* stream, std::span<char> into, net::Deadline deadline) {
  while (!into.empty()) {
    CO_TRY(n, co_await stream->read_some(into, deadline.left()));
    if (n == 0) co_return Error{Code::unavailable, "it hung up"};
    into = into.subspan(n);
  }
  co_return ok;
}

Task<std::string> ask_by_stream(net::Address server, dns::Query query) {
  const std::uint16_t id = random_number();
  net::Deadline deadline(kPerStream);
  CO_TRY(stream, co_await net::connect(server, deadline.left()));
  const auto size = static_cast<std::uint16_t>(query.message.size());
  std::string message{static_cast<char>(size >> 8), static_cast<char>(size & 0xff)};
  message += dns::with_id(query.message, id);
  CO_TRY_DO(co_await stream->write_all(message, deadline.left()));
  unsigned char length[2];
  CO_TRY_DO(co_await read_whole(stream.get(), {reinterpret_cast<char*>(length), 2}, deadline));
  std::string answer(static_cast<std::size_t>(length[0] << 8 | length[1]), '\0');
  CO_TRY_DO(co_await read_whole(stream.get(), answer, deadline));
  if (!dns::answers(answer, query, id))
    co_return Error{Code::unavailable, "it answers something else"};
  co_return answer;
}

}  // namespace

Task<std::string> ask_servers(std::vector<net::Address> servers, dns::Query query,
                              Transport transport) {
  Error last{Code::unavailable, "no name server is known on this machine"};
  for (const auto& server : servers) {
    auto answer = transport == Transport::datagram ? co_await ask_by_datagram(server, query)
                                                   : co_await ask_by_stream(server, query);
    if (answer) co_return dns::with_id(std::move(*answer), query.id);
    if (answer.error().code == Code::cancelled) co_return std::move(answer.error());
    last = std::move(answer.error());
  }
  co_return last;
}

std::vector<net::Address> parse_resolv_conf(std::string_view text) {
  std::vector<net::Address> servers;
  for (const auto& line : split(text, '\n')) {
    std::string_view rest = trim(line);
    constexpr std::string_view kWord = "nameserver";
    if (!rest.starts_with(kWord) || servers.size() == kServers) continue;
    rest = trim(rest.substr(kWord.size()));
    std::string host(rest.substr(0, rest.find_first_of(" \t#;")));
    unsigned char bytes[16];
    if (::inet_pton(AF_INET, host.c_str(), bytes) != 1 &&
        ::inet_pton(AF_INET6, host.c_str(), bytes) != 1)
      continue;
    net::Address server;
    server.host = std::move(host);
    server.port = kDnsPort;
    servers.push_back(std::move(server));
  }
  return servers;
}

}  // namespace glovebox::gateway

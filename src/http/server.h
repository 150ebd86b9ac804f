// HTTP/1.1 server: keep-alive, chunked both ways, SSE, WebSocket, TLS, limits and deadlines on
// everything.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "http/message.h"
#include "net/stream.h"

namespace glovebox::http {

enum class Body { none, whole, stream };

struct Route {
  std::string method;
  std::string pattern;  // "/sandboxes/{id}": a {name} takes one segment; "{rest*}" at the end takes
                        // all that is left
  Body body = Body::none;
  std::function<Task<Response>(Request)> handler;
  std::size_t body_limit = 1 << 20;  // for Body::whole; Body::stream is bounded by the handler
  // A `stream` task is always cancelled when the client goes away, an `upgrade` task learns it from
  // read(). A handler is left alone, it may be half way through a change; set this for those that
  // only wait (long polls).
  bool cancel_on_disconnect = false;
};

struct ServerOptions {
  std::size_t head_limit = 32 * 1024;
  std::size_t max_headers = 100;
  std::size_t max_connections = 4096;  // one more gets 503 and is closed
  Millis head_deadline{15'000};        // first byte of a request to the end of its head
  Millis body_deadline{60'000};        // between two pieces of a body
  Millis write_deadline{60'000};       // one write to a client that does not read
  Millis idle_deadline{120'000};       // keep-alive: clients pool for 90 s
  std::shared_ptr<net::TlsServer> tls;
  // On a loopback listener only these Hosts (any port) are served, and a browser's Origin must be
  // one of them, else 403: DNS rebinding and foreign pages get nothing. Empty: not checked. A
  // leading dot allows every name below (".local").
  std::vector<std::string> allowed_hosts;
  // Runs before routing; an error is the answer. For credentials.
  std::function<Result<void>(const Request&)> guard;
  // May rewrite the path before routing (Host-based routing of sandboxes).
  std::function<Result<void>(Request&)> rewrite;
  // Runs over every answer before it is sent, also those of the server itself: may add headers, and
  // give an error (Response::error) the body that the part's API says.
  std::function<void(Response&, std::string_view request_id)> dress;
};

class Server {
 public:
  Server(net::Loop& loop, std::vector<Route> routes, ServerOptions options);
  ~Server();
  Result<net::Address> listen(const net::Address& address);  // may be called for several
  Result<net::Address> adopt(Fd listening);
  // No new connections; idle ones close, running requests end or are cut at the limit.
  Task<void> drain(Millis limit);
  std::size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace glovebox::http

#include "http/server.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "http/connection.h"
#include "http/response_head.h"
#include "http/text.h"
#include "net/task.h"

namespace glovebox::http {
namespace {

metrics::Counter g_refused("http_connections_refused_total", "Connections over the limit.");

constexpr std::size_t kMaxRefusing = 64;  // at a time; more are closed without a word

Task<void> refuse(std::shared_ptr<ServerState> server, std::shared_ptr<net::Stream> stream) {
  std::string id = "req_" + random_id(20);
  Response response = json(503, error_body("too many connections", "TOO_MANY_CONNECTIONS", id));
  response.headers.set("Retry-After", "1");
  response.error = Error{Code::unavailable, "too many connections", "TOO_MANY_CONNECTIONS"};
  if (server->options.dress) server->options.dress(response, id);
  stream->write_now(response_head(response, {.length = response.body.size(), .close = true}, id) +
                    response.body);
  ++server->refusing;
  (void)co_await linger(stream);
  --server->refusing;
  co_return ok;
}

Task<void> serve(std::shared_ptr<ServerState> server, std::unique_ptr<net::Stream> stream) {
  if (server->options.tls) {
    auto secured = co_await net::tls_accept(std::move(stream), server->options.tls,
                                            server->options.head_deadline);
    --server->handshaking;
    if (!secured) co_return ok;  // a scanner, or a client that does not trust us
    stream = std::move(*secured);
  } else {
    --server->handshaking;
  }
  auto connection = std::make_shared<Connection>(server, std::move(stream));
  co_return co_await Connection::serve(std::move(connection));
}

Task<void> accept_all(std::shared_ptr<ServerState> server,
                      std::shared_ptr<net::Listener> listener) {
  for (;;) {
    CO_TRY(stream, co_await listener->accept(),
           "accept");  // ends with Code::cancelled when the listener is closed
    if (server->connections.size() + server->handshaking < server->options.max_connections) {
      // Counted from here: of a burst all are accepted before the first of these tasks runs.
      ++server->handshaking;
      server->tasks.spawn("http.connection", serve(server, std::move(stream)));
      continue;
    }
    g_refused.add();
    bool speak = server->refusing < kMaxRefusing && !server->options.tls;
    if (speak) server->tasks.spawn("http.refuse", refuse(server, std::move(stream)));
  }
}

}  // namespace

struct Server::Impl {
  std::shared_ptr<ServerState> state;

  Result<net::Address> start(Result<net::Listener> opened) {
    if (!opened) return std::move(opened.error());
    auto listener = std::make_shared<net::Listener>(std::move(*opened));
    state->listeners.push_back(listener);
    state->tasks.spawn("http.accept", accept_all(state, listener));
    return listener->address();
  }
  void close_listeners() {
    for (auto& listener : state->listeners) listener->close();
    state->listeners.clear();
  }
};

Server::Server(net::Loop& loop, std::vector<Route> routes, ServerOptions options)
    : impl_(std::make_unique<Impl>(
          std::make_shared<ServerState>(loop, std::move(routes), std::move(options)))) {}

Server::~Server() {
  impl_->close_listeners();
  impl_->state->tasks.cancel();  // they hold the state: it is not the last word
}

Result<net::Address> Server::listen(const net::Address& address) {
  return impl_->start(net::Listener::open(impl_->state->loop, address));
}

Result<net::Address> Server::adopt(Fd listening) {
  return impl_->start(net::Listener::adopt(impl_->state->loop, std::move(listening)));
}

std::size_t Server::connections() const { return impl_->state->connections.size(); }

Task<void> Server::drain(Millis limit) {
  impl_->close_listeners();
  auto state = impl_->state;
  state->draining = true;
  for (Connection* connection : state->connections) connection->drain();
  net::Deadline deadline(limit);
  while (!state->connections.empty() && deadline.left() > 0ms)
    if (!co_await state->one_less.wait(deadline.left())) break;
  if (!state->connections.empty())
    log::warn("http.drain_cut", {{"connections", state->connections.size()}});
  co_return co_await state->tasks.finish(5s);
}

}  // namespace glovebox::http

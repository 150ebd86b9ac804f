// A client's connection: request after request read, judged, and sent where it belongs.
#include <algorithm>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/ingress_exchange.h"
#include "http/connection.h"
#include "http/response_head.h"
#include "http/target.h"
#include "http/text.h"
#include "net/deadline.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

metrics::Counter requests_total[] = {
    {"ingress_requests_total", "Requests answered.", R"(status="1xx")"},
    {"ingress_requests_total", "Requests answered.", R"(status="2xx")"},
    {"ingress_requests_total", "Requests answered.", R"(status="3xx")"},
    {"ingress_requests_total", "Requests answered.", R"(status="4xx")"},
    {"ingress_requests_total", "Requests answered.", R"(status="5xx")"}};

constexpr std::string_view kPlane = "/api/v1";

Error refused(const http::Refused& why) { return {Code::invalid, why.what, why.tag}; }

// Reads a head within its limits. Code::gone, without a word to anybody: the client has closed, or
// said nothing for too long.
Task<void> read_head(ClientPtr client, std::optional<http::Refused>* wrong) {
  const IngressLimits& limits = client->impl->options.limits;
  client->parser = http::request_parser({.head = limits.head, .headers = limits.headers});
  client->input.shrink();
  if (client->input.empty()) {
    auto& idle = client->impl->idle_clients;
    idle.insert(client->stream.get());
    auto got = client->impl->closing ? Result<bool>(Error{Code::gone, "closing"})
                                     : co_await read_more(client, limits.idle);
    idle.erase(client->stream.get());
    if (!got) co_return std::move(got.error());
    if (!*got) co_return Error{Code::gone, "closed by the client"};
  }
  net::Deadline deadline(limits.head_time);
  while (!client->parser->head_done()) {
    auto used = client->parser->feed(client->input.view());
    if (!used) {
      *wrong = std::move(used.error());
      co_return ok;
    }
    client->input.consume(*used);
    if (*used > 0) continue;
    auto got = co_await read_more(client, deadline.left());
    if (!got && got.error().code == Code::timeout) {
      *wrong = http::Refused{408, "REQUEST_TIMEOUT", "the head did not arrive in time"};
      co_return ok;
    }
    if (!got) co_return std::move(got.error());
    if (!*got) co_return Error{Code::gone, "closed by the client"};
  }
  co_return ok;
}

Task<void> answer_own(ClientPtr client, ExchangePtr exchange) {
  const http::Request& request = exchange->request;
  const bool get = request.method == "GET" || request.method == "HEAD";
  if (get && request.path == "/healthz")
    co_return co_await answer_with(client, exchange, http::text(200, "ok\n"));
  const Secret& key = client->impl->options.metrics_key;
  if (get && request.path == "/metrics" && !key.empty()) {
    const std::string_view given = request.headers.get("Authorization").value_or("");
    if (given.starts_with("Bearer ") && key.equals(given.substr(7)))
      co_return co_await answer_with(client, exchange, http::text(200, metrics::render()));
    (void)client->source->refusals.take();
    co_return Error{Code::unauthenticated, "this needs the metrics key: Authorization: Bearer KEY",
                    "AUTH_REQUIRED"};
  }
  co_return Error{Code::not_found, "there is nothing at this path", "NOT_FOUND"};
}

// All of a body that must be seen before anything wakes, into memory.
Task<void> read_whole(ClientPtr client, ExchangePtr exchange) {
  Ingress::Impl& impl = *client->impl;
  const IngressLimits& limits = impl.options.limits;
  const auto length = client->parser->content_length();
  const Error too_large{Code::too_large, str("the body may have ", limits.verified_body, " bytes"),
                        "TOO_LARGE"};
  if (length && *length > limits.verified_body) co_return too_large;
  if (impl.bodies >= limits.bodies_in_memory || client->source->bodies >= limits.bodies_of_source)
    co_return Error{Code::exhausted, "too many deliveries at once", "TOO_BUSY"};
  const Counted here(impl.bodies), of_source(client->source->bodies);
  const auto since = Steady::now();
  exchange->body_until = net::Deadline(limits.verified_time);
  for (;;) {
    CO_TRY(piece, co_await read_piece(client, exchange, since, exchange->body.size()));
    if (piece.empty()) break;
    if (exchange->body.size() + piece.size() > limits.verified_body) co_return too_large;
    exchange->body += piece;
  }
  exchange->body_read = true;
  co_return ok;
}

// A signed port: all of the body is read and looked at before anything wakes.
Task<void> check_signature(ClientPtr client, ExchangePtr exchange, BoxPtr box,
                           const wire::IngressPort* port) {
  const IngressOptions& options = client->impl->options;
  if (!options.verify)
    co_return Error{Code::unavailable, "signatures cannot be checked here", "NO_VERIFIER"};
  // What cannot be genuine takes none of the few places for bodies.
  for (auto name : {"webhook-id", "webhook-timestamp", "webhook-signature"}) {
    if (exchange->request.headers.get(name)) continue;
    (void)client->source->refusals.take();
    co_return Error{Code::unauthenticated, str("webhook: no ", name)};
  }
  CO_TRY_DO(co_await read_whole(client, exchange));
  auto good = options.verify(box->box, *port, exchange->request.headers, exchange->body);
  if (!good) {
    (void)client->source->refusals.take();
    co_return std::move(good.error());
  }
  exchange->not_taken = std::move(*good);
  co_return ok;
}

Task<void> to_port(ClientPtr client, ExchangePtr exchange, IngressRoute route) {
  if (!client->source->refusals.has())
    co_return Error{Code::exhausted, "too many refused requests", "TOO_MANY_REFUSED"};
  ImplPtr impl = client->impl;
  BoxPtr box = known_box(*impl, route.label);
  if (!box) {
    auto found = co_await find_box(impl, route.label);
    if (!found) {
      if (found.error().code == Code::not_found || found.error().code == Code::gone)
        (void)client->source->refusals.take();
      co_return std::move(found.error());
    }
    box = std::move(*found);
  }
  const wire::IngressPort* port = box->box.port(route.port);  // it never changes
  http::Headers& headers = exchange->request.headers;
  CO_TRY(token, check_access(*impl, port, *client->source, headers));
  if (!token.empty())
    CO_TRY_DO(co_await check_token(impl, box, route.port, std::move(token), client->source));
  if (!port->verify.empty()) CO_TRY_DO(co_await check_signature(client, exchange, box, port));
  exchange->port = route.port;
  exchange->onward_host = exchange->host;
  drop_routing(headers);
  Result<void> done = ok;
  if (box->held && !box->over) {
    exchange->use = std::make_shared<BoxUse>(box);
  } else {
    auto use = co_await use_box(impl, box, client->source);
    if (use)
      exchange->use = std::move(*use);
    else
      done = std::move(use.error());
  }
  if (done) done = co_await relay(client, exchange);
  if (exchange->not_taken && (!done || exchange->status >= 500)) exchange->not_taken();
  co_return done;
}

Task<void> to_part(ClientPtr client, ExchangePtr exchange, IngressRoute route) {
  if (!client->source->refusals.has())
    co_return Error{Code::exhausted, "too many refused requests", "TOO_MANY_REFUSED"};
  http::Request& request = exchange->request;
  if (route.to == IngressRoute::To::data_plane) {
    if (!client->impl->options.data_plane ||
        (request.path != kPlane && !request.path.starts_with(str(kPlane, '/'))))
      co_return Error{Code::not_found, "there is nothing at this path", "NOT_FOUND"};
    drop_routing(request.headers);
    request.headers.set("X-Tensorlake-Sandbox-Id", route.label);
    exchange->onward_host = str(route.label, ".local");
  } else {
    exchange->part = route.label;
    exchange->onward_host = exchange->host;
  }
  auto done = co_await relay(client, exchange);
  if (exchange->status == 401) (void)client->source->refusals.take();
  co_return done;
}

Task<void> handle(ClientPtr client, ExchangePtr exchange) {
  Ingress::Impl& impl = *client->impl;
  http::Request& request = exchange->request;
  if (!client->source->requests.take())
    co_return Error{Code::exhausted, "too many requests", "TOO_MANY_REQUESTS"};
  if (impl.options.admit)
    if (auto answer = impl.options.admit(client->who, request))
      co_return co_await answer_with(client, exchange, std::move(*answer));
  // It says what came before it, and that may be ours.
  if (request.method == "TRACE" || request.method == "CONNECT")
    co_return Error{Code::invalid, "this method is not for here", "METHOD_NOT_ALLOWED"};
  auto is_part = [&impl](std::string_view label) { return impl.options.parts.contains(label); };
  const IngressRoute route = route_of(request.headers, impl.options.domain, is_part);
  exchange->websocket = !exchange->http10 && asks_for_websocket(request);
  drop_hop_by_hop(request.headers);
  drop_foreign(request.headers);
  switch (route.to) {
    case IngressRoute::To::own: co_return co_await answer_own(client, exchange);
    case IngressRoute::To::label:
    case IngressRoute::To::data_plane: co_return co_await to_part(client, exchange, route);
    case IngressRoute::To::port: co_return co_await to_port(client, exchange, route);
    case IngressRoute::To::nowhere: break;
  }
  (void)client->source->refusals.take();
  co_return Error{Code::not_found, "nothing here has this host name", "UNKNOWN_HOST"};
}

void log_access(const Client& client, const Exchange& exchange) {
  requests_total[std::clamp(exchange.status / 100, 1, 5) - 1].add();
  if (!client.impl->options.access_log) return;
  const auto took =
      std::chrono::duration_cast<std::chrono::microseconds>(Steady::now() - exchange.started);
  client.impl->options.access_log(
      str(R"({"from":")", client.who.peer, R"(","secure":)", client.who.secure, R"(,"method":")",
          json_escape(exchange.request.method), R"(","host":")", json_escape(exchange.host),
          R"(","path":")", json_escape(std::string_view(exchange.request.path).substr(0, 1000)),
          R"(","status":)", exchange.status, R"(,"bytes":)", exchange.bytes, R"(,"us":)",
          took.count(), R"(,"sandbox":")", exchange.use ? exchange.use->box->box.id : "",
          R"(","request_id":")", json_escape(exchange.request.request_id), "\"}"));
}

Task<void> next_request(ClientPtr client) {
  std::optional<http::Refused> wrong;
  CO_TRY_DO(co_await read_head(client, &wrong));
  auto exchange = std::make_shared<Exchange>();
  exchange->http10 = client->parser->minor_version == 0;
  if (!wrong) {
    client->close = !client->parser->keep_alive();
    auto made = http::make_request(*client->parser);
    if (made) {
      exchange->request = std::move(*made);
      exchange->host = exchange->request.headers.get("Host").value_or("");
      exchange->expects =
          !exchange->http10 && !client->parser->done() &&
          http::same_name(exchange->request.headers.get("Expect").value_or(""), "100-continue");
    } else {
      wrong = std::move(made.error());
    }
  }
  Result<void> done = ok;
  if (wrong) {
    client->close = client->linger = true;
    exchange->status = wrong->status;
    done = co_await fail(client, exchange, refused(*wrong));
  } else {
    done = co_await handle(client, exchange);
    if (!done && !exchange->begun && done.error().code != Code::cancelled)
      done = co_await fail(client, exchange, std::move(done.error()));
  }
  log_access(*client, *exchange);
  co_return done;
}

}  // namespace

Task<bool> read_more(ClientPtr client, Millis limit) {
  CO_TRY(got, co_await client->stream->read_some(client->input.room(), limit));
  client->input.filled(got);
  co_return got > 0;
}

Task<std::string> read_piece(ClientPtr client, ExchangePtr exchange, Steady::time_point since,
                             std::size_t seen) {
  const IngressLimits& limits = client->impl->options.limits;
  const Error late{Code::invalid, "the body did not arrive in time", "REQUEST_TIMEOUT"};
  http::Parser& parser = *client->parser;
  for (;;) {
    if (!parser.body.empty()) co_return std::exchange(parser.body, {});
    if (parser.done()) co_return "";
    if (!client->input.empty()) {
      auto used = parser.feed(client->input.view());
      if (!used) {
        client->close = client->linger = true;
        co_return refused(used.error());
      }
      client->input.consume(*used);
      exchange->expects = false;
      if (*used > 0) continue;
    }
    const Millis left = exchange->body_until.left();
    if (std::exchange(exchange->expects, false))
      CO_TRY_DO(co_await client->stream->write_all("HTTP/1.1 100 Continue\r\n\r\n",
                                                   std::min(limits.write, left)));
    // One byte every now and then is not a body.
    const auto so_far = std::chrono::duration_cast<Millis>(Steady::now() - since);
    const bool trickles =
        left == 0ms || (so_far > limits.body_pause &&
                        seen < limits.body_rate * static_cast<std::size_t>(so_far.count()) / 1000);
    auto got = trickles ? Result<bool>(Error{Code::timeout, "it trickles"})
                        : co_await read_more(client, std::min(limits.body_pause, left));
    if (got && *got) continue;
    client->close = true;
    client->linger = !got && got.error().code == Code::timeout;
    if (client->linger) co_return late;
    if (!got) co_return std::move(got.error());
    co_return Error{Code::cancelled, "the client closed inside the body"};
  }
}

Task<void> answer_with(ClientPtr client, ExchangePtr exchange, http::Response response) {
  // A client that still waits for "100 Continue", or still sends, may be anywhere in its body.
  if (!client->parser->done() && !exchange->body_read) client->close = client->linger = true;
  if (client->impl->closing) client->close = true;
  http::Framing framing;
  framing.close = client->close;
  framing.keep_alive_10 = exchange->http10;
  const bool bare = response.status == 204 || response.status == 304;
  if (!bare) framing.length = response.body.size();
  if (exchange->request.request_id.empty()) exchange->request.request_id = "-";
  std::string out = http::response_head(response, framing, exchange->request.request_id);
  if (!bare && exchange->request.method != "HEAD") out += response.body;
  exchange->begun = true;
  exchange->status = response.status;
  exchange->bytes += out.size();
  co_return co_await client->stream->write_all(out, client->impl->options.limits.write);
}

Task<void> fail(ClientPtr client, ExchangePtr exchange, Error error) {
  http::Response response = http::error_response(error);
  if (exchange->status >= 400) response.status = exchange->status;
  if (error.tag == "REQUEST_TIMEOUT") response.status = 408;
  if (error.tag == "METHOD_NOT_ALLOWED") response.status = 405;
  if (error.tag == "CONNECTION_REFUSED" || error.tag == "BAD_GATEWAY") response.status = 502;
  if (error.tag == "SANDBOX_NOT_RUNNING") response.status = 503;
  if (response.status == 401) response.headers.set("WWW-Authenticate", "Bearer");
  if (response.status == 429 || response.status == 503) response.headers.set("Retry-After", "1");
  const std::string& id = exchange->request.request_id;
  std::string tag = error.tag;
  if (tag.empty()) {
    for (char c : name(error.code)) tag += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  }
  response.body = http::error_body(error.what, tag, id);
  response.error.reset();
  if (response.status >= 500)
    log::warn("ingress.failed", {{"host", exchange->host},
                                 {"status", response.status},
                                 {"error", error.what},
                                 {"request_id", id}});
  co_return co_await answer_with(client, exchange, std::move(response));
}

Task<void> serve_client(ImplPtr impl, std::unique_ptr<net::Stream> plain, SourcePtr source) {
  auto client = std::make_shared<Client>();
  client->impl = impl;
  client->who = describe(plain->peer());
  client->source = std::move(source);
  auto tls = impl->options.tls ? impl->options.tls() : nullptr;
  auto accepted =
      co_await net::accept_either(std::move(plain), std::move(tls), impl->options.limits.head_time);
  if (!accepted) co_return ok;  // a scanner, or a client that does not trust us
  client->stream = std::move(accepted->stream);
  client->who.secure = accepted->secure;
  while (!client->close) {
    auto done = co_await next_request(client);
    // The client has gone or was too slow, or an answer broke off: nobody to tell.
    if (!done) {
      client->stream->close();
      co_return ok;
    }
  }
  if (client->linger) (void)co_await http::linger(client->stream);
  client->stream->close();
  co_return ok;
}

}  // namespace glovebox::gateway

// One request and its answer: the second half of Connection.
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "http/connection.h"
#include "http/response_head.h"
#include "http/target.h"
#include "http/text.h"
#include "http/websocket.h"
#include "net/task.h"

namespace glovebox::http {
namespace {

metrics::Counter g_requests[] = {{"http_requests_total", "Requests answered.", R"(status="1xx")"},
                                 {"http_requests_total", "Requests answered.", R"(status="2xx")"},
                                 {"http_requests_total", "Requests answered.", R"(status="3xx")"},
                                 {"http_requests_total", "Requests answered.", R"(status="4xx")"},
                                 {"http_requests_total", "Requests answered.", R"(status="5xx")"}};
metrics::Histogram g_seconds("http_request_seconds",
                             "From the head of a request to the end of its answer.");

constexpr std::size_t kJoinLimit = 64 * 1024;    // head and body in one write up to here
constexpr std::size_t kWritePiece = 256 * 1024;  // each has the write deadline

Response refusal(const Refused& refused) {
  Response response = json(refused.status, error_body(refused.what, refused.tag, ""));
  response.error = Error{Code::invalid, refused.what, refused.tag};
  return response;
}

bool has_no_body(int status) { return status == 204 || status == 304 || status < 200; }

}  // namespace

class RequestBody final : public BodyReader {
 public:
  RequestBody(std::shared_ptr<Connection> connection, std::uint64_t exchange)
      : connection_(std::move(connection)), exchange_(exchange) {}
  Task<std::string> read() override { return read(connection_, exchange_); }

 private:
  static Task<std::string> read(std::shared_ptr<Connection> connection, std::uint64_t exchange) {
    co_return co_await connection->read_body(exchange);
  }
  std::shared_ptr<Connection> connection_;
  std::uint64_t exchange_;
};

class StreamWriter final : public BodyWriter {
 public:
  StreamWriter(Connection& connection, bool chunked, std::optional<std::uint64_t> length)
      : connection_(connection), chunked_(chunked), left_(length) {}

  Task<void> write(std::string bytes) override {
    if (closed_) co_return Error{Code::gone, "the client has gone"};
    if (bytes.empty()) co_return ok;  // an empty chunk would mean the end
    if (left_ && bytes.size() > *left_)
      co_return Error{Code::internal, "more bytes than the Content-Length says"};
    if (left_) *left_ -= bytes.size();
    if (chunked_) {
      char size[20];
      auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
      bytes.insert(0, std::string(size, end) + "\r\n");
      bytes += "\r\n";
    }
    auto written =
        co_await connection_.stream_->write_all(bytes, connection_.server_->options.write_deadline);
    if (!written) closed_ = true;
    co_return written;
  }
  bool closed() const override { return closed_; }
  void close() { closed_ = true; }

  Task<void> finish() {
    if (left_ && *left_ > 0)
      co_return Error{Code::internal, "fewer bytes than the Content-Length says"};
    if (!chunked_) co_return ok;
    co_return co_await connection_.stream_->write_all("0\r\n\r\n",
                                                      connection_.server_->options.write_deadline);
  }

 private:
  Connection& connection_;
  bool chunked_, closed_ = false;
  std::optional<std::uint64_t> left_;
};

Task<void> Connection::exchange() {
  exchange_ = Exchange{.number = exchange_.number + 1};
  refused_.reset();
  CO_TRY_DO(co_await read_head());
  Parsed<Request> request;
  if (!refused_) {
    exchange_.close = !parser_->keep_alive();
    request = make_request(*parser_);
    if (!request) refused_ = std::move(request.error());
  }
  if (!refused_ && stream_->peer() != "unix") {
    auto known = check_host(*request, server_->options.allowed_hosts);
    if (!known) refused_ = std::move(known.error());
  }
  if (refused_) {
    exchange_.close = exchange_.linger = true;
    if (request) exchange_.request_id = request->request_id;
    co_return co_await send(refusal(*refused_));
  }
  exchange_.method = request->method;
  exchange_.path = request->path;
  exchange_.request_id = request->request_id;
  if (request->headers.get("Upgrade")) exchange_.headers = request->headers;
  exchange_.wants_continue = parser_->minor_version > 0 && !parser_->done() &&
                             same_name(request->headers.get("Expect").value_or(""), "100-continue");
  request->peer = stream_->peer();
  request->scheme = server_->options.tls ? "https" : "http";

  CO_TRY(response, co_await answer(std::move(*request)));
  if (response.status >= 500)
    log::write(response.status == 500 ? log::Level::error : log::Level::warn, "http.failed",
               {{"request_id", exchange_.request_id},
                {"method", exchange_.method},
                {"path", exchange_.path},
                {"status", response.status},
                {"error", response.error ? response.error->what : ""}});
  if (response.upgrade) co_return co_await upgrade(std::move(response));
  co_return co_await send(std::move(response));
}

// Everything that can go wrong on the way to a handler and inside it ends here as an answer.
Task<Response> Connection::answer(Request request) {
  const ServerOptions& options = server_->options;
  try {
    if (options.rewrite) {
      auto rewritten = options.rewrite(request);
      if (!rewritten) co_return error_response(rewritten.error());
    }
    if (options.guard) {
      auto passed = options.guard(request);
      if (!passed) co_return error_response(passed.error());
    }
    auto match = server_->router.find(request.method, request.path);
    if (!match.route && !match.allow.empty()) {
      Response response =
          refusal({405, "METHOD_NOT_ALLOWED", str(request.method, " is not for this path")});
      response.headers.set("Allow", match.allow);
      co_return response;
    }
    if (!match.route) co_return refusal({404, "NOT_FOUND", "there is nothing at this path"});
    request.params = std::move(match.params);
    if (match.route->body == Body::whole) {
      CO_TRY(refused, co_await read_whole_body(match.route->body_limit, request.body));
      if (refused.status) co_return refused;
    }
    if (match.route->body == Body::stream)
      request.body_stream = std::make_shared<RequestBody>(shared_from_this(), exchange_.number);
    auto response = co_await call(*match.route, std::move(request));
    if (!response) co_return error_response(response.error());
    co_return std::move(*response);
  } catch (const std::exception& e) {
    log::error("http.exception", {{"request_id", exchange_.request_id}, {"what", e.what()}});
    co_return refusal({500, "INTERNAL_ERROR", "an internal error"});
  }
}

Task<Response> Connection::read_whole_body(std::size_t limit, std::string& into) {
  auto too_large = [&] {
    exchange_.close = exchange_.linger = true;
    return refusal({413, "TOO_LARGE", str("the body may have ", limit, " bytes")});
  };
  auto length = parser_->content_length();
  if (length && *length > limit) co_return too_large();
  for (;;) {
    auto piece = co_await read_body(exchange_.number);
    if (!piece) {
      const Error& error = piece.error();
      bool late = error.tag == "REQUEST_TIMEOUT";
      if (error.code == Code::invalid) co_return refusal({late ? 408 : 400, error.tag, error.what});
      co_return std::move(piece.error());  // nobody to tell
    }
    if (piece->empty()) co_return empty(0);
    if (into.size() + piece->size() > limit) co_return too_large();
    if (into.empty())
      into = std::move(*piece);
    else
      into += *piece;
  }
}

static Task<void> keep_result(const Route& route, Request request, Result<Response>& result) {
  result = co_await route.handler(std::move(request));
  co_return ok;
}

Task<Response> Connection::call(const Route& route, Request request) {
  if (!route.cancel_on_disconnect) co_return co_await route.handler(std::move(request));
  Result<Response> response = Error{Code::cancelled, "the client has gone"};
  CO_TRY_DO(
      co_await net::first_of(keep_result(route, std::move(request), response), watch_client()));
  co_return response;
}

Task<void> Connection::send(Response response) {
  if (exchange_.request_id.empty()) exchange_.request_id = "req_" + random_id(20);
  if (response.error)
    response.body = error_body(response.error->what, response.error->tag, exchange_.request_id);
  if (server_->options.dress) server_->options.dress(response, exchange_.request_id);
  // A client that still waits for "100 Continue" may send the body or not: the connection's state
  // is unknown.
  if (exchange_.wants_continue && !parser_->done()) exchange_.close = exchange_.linger = true;
  if (server_->draining || has_token(response.headers.get("Connection").value_or(""), "close"))
    exchange_.close = true;

  bool bare = has_no_body(response.status);
  Framing framing;
  if (response.stream && !bare) {
    framing.length = parse_int<std::uint64_t>(response.headers.get("Content-Length").value_or(""));
    framing.chunked = !framing.length && parser_->minor_version > 0;
    if (!framing.length && !framing.chunked)
      exchange_.close = true;  // HTTP/1.0: the end of the stream is the end
  } else if (!bare) {
    framing.length = response.body.size();
  }
  framing.close = exchange_.close;
  framing.keep_alive_10 = parser_->minor_version == 0;
  std::string head = response_head(response, framing, exchange_.request_id);

  Result<void> sent = ok;
  if (bare || exchange_.method == "HEAD") {
    sent = co_await stream_->write_all(head, server_->options.write_deadline);
  } else if (!response.stream) {
    sent = co_await send_body(response, std::move(head));
  } else {
    sent = co_await stream_->write_all(head, server_->options.write_deadline);
    if (sent) sent = co_await send_stream(response, framing.chunked, framing.length);
  }
  count(response.status);
  if (!sent) co_return sent;
  if (exchange_.close) {
    exchange_.linger = exchange_.linger || !parser_->done() || !input_.empty();
    co_return ok;
  }
  if (!parser_->done()) co_return co_await drain_body();
  co_return ok;
}

Task<void> Connection::send_body(Response& response, std::string head) {
  Millis limit = server_->options.write_deadline;
  std::string_view body = response.body;
  if (body.size() <= kJoinLimit) {
    head += body;
    co_return co_await stream_->write_all(head, limit);
  }
  CO_TRY_DO(co_await stream_->write_all(head, limit));
  for (; !body.empty(); body.remove_prefix(std::min(body.size(), kWritePiece)))
    CO_TRY_DO(co_await stream_->write_all(body.substr(0, kWritePiece), limit));
  co_return ok;
}

static Task<void> run_stream(Response& response, StreamWriter& writer) {
  try {
    CO_TRY_DO(co_await response.stream(writer));
    co_return co_await writer.finish();
  } catch (const std::exception& e) {
    co_return Error{Code::internal, str("exception: ", e.what())};
  }
}

Task<void> Connection::close_when_gone(StreamWriter& writer) {
  auto gone = co_await watch_client();
  writer.close();
  co_return gone;
}

Task<void> Connection::send_stream(Response& response, bool chunked,
                                   std::optional<std::uint64_t> length) {
  StreamWriter writer(*this, chunked, length);
  auto ended = co_await net::first_of(run_stream(response, writer), close_when_gone(writer));
  // Without the last chunk the client knows that this is not all.
  if (!ended && ended.error().code != Code::gone && ended.error().code != Code::cancelled &&
      !writer.closed())
    log::warn("http.stream_cut",
              {{"request_id", exchange_.request_id}, {"error", ended.error().what}});
  co_return ended;
}

Task<void> Connection::upgrade(Response response) {
  if (!is_websocket_handshake(exchange_.method, parser_->minor_version, exchange_.headers)) {
    Response refused = refusal({426, "UPGRADE_REQUIRED", "this path speaks WebSocket"});
    refused.headers.set("Upgrade", "websocket");
    co_return co_await send(std::move(refused));
  }
  exchange_.close = true;
  count(101);
  response.headers.set("X-Request-Id", exchange_.request_id);
  CO_TRY(socket,
         co_await accept_websocket(stream_, std::string(input_.view()),
                                   std::move(exchange_.headers), std::move(response.headers)));
  Result<void> ended = ok;
  try {
    ended = co_await response.upgrade(*socket);
  } catch (const std::exception& e) {
    ended = Error{Code::internal, str("exception: ", e.what())};
  }
  if (!ended && ended.error().code != Code::gone && ended.error().code != Code::cancelled)
    log::warn("http.websocket_failed",
              {{"request_id", exchange_.request_id}, {"error", ended.error().what}});
  (void)co_await socket->close(ended ? 1000 : 1011, "");
  co_return ok;
}

void Connection::count(int status) {
  g_requests[std::clamp(status / 100, 1, 5) - 1].add();
  g_seconds.observe(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - exchange_.started).count());
}

}  // namespace glovebox::http

#include "http/connection.h"

#include "base/log.h"
#include "base/metrics.h"
#include "http/target.h"
#include "http/text.h"
#include "net/task.h"

namespace glovebox::http {
namespace {

metrics::Gauge g_connections("http_connections", "Open connections of clients.");

constexpr std::size_t kDrainLimit =
    256 * 1024;  // of an unwanted body: cheaper to read than a new connection
constexpr Millis kLingerLimit{2'000};
// Before closing on a client that is still sending: most clients write all of a body before they
// read, and a reset would take the answer from them.
constexpr std::size_t kLingerBytes = 16 << 20;
constexpr std::size_t kReadAhead = 64 * 1024;  // of pipelined requests, while an answer streams

}  // namespace

Connection::Connection(std::shared_ptr<ServerState> server, std::unique_ptr<net::Stream> stream)
    : server_(std::move(server)), stream_(std::move(stream)) {
  server_->connections.insert(this);
  g_connections.add(1);
}

Connection::~Connection() {
  stream_->close();
  server_->connections.erase(this);
  server_->one_less.notify();
  g_connections.add(-1);
}

void Connection::drain() {
  if (idle_) stream_->close();
}

Task<void> Connection::serve(std::shared_ptr<Connection> self) {
  while (!self->exchange_.close) {
    auto ended = co_await self->exchange();
    // The client has gone, or was too slow: nobody to tell, nothing to log.
    if (!ended) co_return ok;
  }
  if (self->exchange_.linger) (void)co_await linger(self->stream_);
  co_return ok;
}

Task<void> linger(std::shared_ptr<net::Stream> stream) {
  stream->shutdown_write();
  net::Deadline deadline(kLingerLimit);
  std::array<char, 16384> unread;
  for (std::size_t seen = 0; seen < kLingerBytes;) {
    CO_TRY(got, co_await stream->read_some(unread, deadline.left()));
    if (got == 0) break;
    seen += got;
  }
  stream->close();
  co_return ok;
}

Task<bool> Connection::more(Millis limit) {
  // A body reader that a handler left behind in some other task: there is one buffer, so there is
  // one reader.
  if (reading_) co_return Error{Code::conflict, "somebody else reads this request"};
  reading_ = true;
  auto got = co_await stream_->read_some(input_.room(), limit);
  reading_ = false;
  if (!got) co_return std::move(got.error());
  input_.filled(*got);
  co_return *got > 0;
}

Task<void> Connection::read_head() {
  const ServerOptions& options = server_->options;
  parser_ = request_parser({.head = options.head_limit, .headers = options.max_headers});
  input_.shrink();
  if (input_.empty()) {
    idle_ = true;
    if (server_->draining) co_return Error{Code::cancelled, "draining"};
    CO_TRY(got, co_await more(options.idle_deadline));
    if (!got) co_return Error{Code::gone, "closed by the client"};
    idle_ = false;
  }
  exchange_.started = std::chrono::steady_clock::now();
  net::Deadline deadline(options.head_deadline);
  while (!parser_->head_done()) {
    auto used = parser_->feed(input_.view());
    if (!used) {
      refused_ = std::move(used.error());
      co_return ok;
    }
    input_.consume(*used);
    if (*used > 0) continue;
    auto got = co_await more(deadline.left());
    if (!got && got.error().code == Code::timeout) {
      refused_ = Refused{408, "REQUEST_TIMEOUT", "the head of the request did not arrive in time"};
      co_return ok;
    }
    if (!got) co_return std::move(got.error());
    if (!*got) co_return Error{Code::gone, "closed by the client"};
  }
  co_return ok;
}

Task<std::string> Connection::read_body(std::uint64_t exchange) {
  for (;;) {
    if (exchange != exchange_.number) co_return Error{Code::gone, "the request is over"};
    if (!parser_->body.empty()) co_return std::exchange(parser_->body, {});
    if (parser_->done()) co_return "";
    if (!input_.empty()) {
      auto used = parser_->feed(input_.view());
      if (!used) {
        // Where the next request begins is not known any more.
        exchange_.close = exchange_.linger = true;
        co_return Error{Code::invalid, used.error().what, used.error().tag};
      }
      input_.consume(*used);
      if (parser_->done()) body_read_.notify();
      if (*used > 0) continue;
    } else if (exchange_.wants_continue) {
      CO_TRY_DO(co_await stream_->write_all("HTTP/1.1 100 Continue\r\n\r\n",
                                            server_->options.write_deadline));
    }
    exchange_.wants_continue = false;
    auto got = co_await more(server_->options.body_deadline);
    if (!got || !*got) exchange_.close = true;
    if (!got && got.error().code == Code::timeout) {
      exchange_.linger = true;
      // The client's fault: Code::timeout would say that we were too slow.
      co_return Error{Code::invalid, "the body did not arrive in time", "REQUEST_TIMEOUT"};
    }
    if (!got) co_return std::move(got.error());
    if (!*got) co_return Error{Code::gone, "the connection ended inside the body"};
  }
}

// Reads what a handler left of the body, so that the connection can be used again, unless that is
// too much.
Task<void> Connection::drain_body() {
  exchange_.close = true;  // until it is done
  std::size_t seen = 0;
  net::Deadline deadline(kLingerLimit);
  while (!parser_->done()) {
    parser_->body.clear();
    if (!input_.empty()) {
      auto used = parser_->feed(input_.view());
      if (!used) break;
      input_.consume(*used);
      seen += *used;
      if (*used > 0) continue;
    }
    if (seen > kDrainLimit) break;
    auto got = co_await more(deadline.left());
    if (!got || !*got) co_return Error{Code::gone, "closed by the client"};
  }
  exchange_.linger = !parser_->done();
  exchange_.close = exchange_.linger;
  co_return ok;
}

// Reads ahead while an answer is being made, only to see the end of the stream in time.
Task<void> Connection::watch_client() {
  auto self = shared_from_this();
  while (!parser_->done()) CO_TRY_DO(co_await body_read_.wait(net::kForever));
  while (input_.size() < kReadAhead) {
    CO_TRY(got, co_await more(net::kForever));
    if (!got) co_return Error{Code::gone, "the client has gone"};
  }
  net::Event never;
  co_return co_await never.wait(net::kForever);
}

}  // namespace glovebox::http

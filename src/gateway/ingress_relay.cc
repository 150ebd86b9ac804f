// One request, on its way to a box or another part, and the answer on its way back.
#include <sys/socket.h>

#include <algorithm>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/ingress_exchange.h"
#include "http/response_head.h"
#include "net/deadline.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

metrics::Gauge sockets_now("ingress_websockets", "WebSockets that are open.");

// Most answers come at once. For those that do not it pays to watch whether the client still waits.
constexpr Millis kSoon{50};
constexpr Millis kLastWords{1'000};  // for the answer of one that closed while we were sending
constexpr std::size_t kReadAhead = 64 * 1024;
constexpr int kHints = 16;
constexpr Millis kFresh{1'000};  // a connection idle for less is not likely to be closed just now
constexpr Millis kAfterClose{30'000};
constexpr http::ParserLimits kAnswer{.head = 64 * 1024, .headers = 200};
constexpr std::string_view kSlow = "SLOW";

Error broken(std::string what) { return {Code::unavailable, std::move(what), "BAD_GATEWAY"}; }

UpstreamPool* pool_of(const ClientPtr& client, const Exchange& exchange) {
  if (!exchange.use) return &client->impl->parts[exchange.part];
  KnownBox& box = *exchange.use->box;
  return box.over ? nullptr : &box.ports[exchange.port];
}

std::string_view address_of(std::string_view peer) {  // without its port, and without brackets
  std::string_view address = peer.substr(0, peer.rfind(':'));
  if (address.starts_with('[')) address = address.substr(1, address.size() - 2);
  return address;
}

std::string chunk(std::string_view piece) {
  char size[20];
  auto end = std::to_chars(size, size + sizeof size, piece.size(), 16).ptr;
  std::string out(size, end);
  return out.append("\r\n").append(piece).append("\r\n");
}

// One that is there already, or null.
UpstreamPtr take_idle(const ClientPtr& client, const Exchange& exchange) {
  UpstreamPool* pool = pool_of(client, exchange);
  if (!pool) return nullptr;
  const bool repeatable = may_repeat(exchange.request.method) && client->parser->done();
  return pool->take(repeatable ? Millis(60'000) : kFresh);
}

Task<void> connect(ClientPtr client, ExchangePtr exchange) {
  ImplPtr impl = client->impl;
  if (exchange->use) {
    CO_TRY(made, co_await connect_box(impl, exchange->use->box, exchange->port));
    exchange->upstream = std::move(made);
    co_return ok;
  }
  const net::Address& to =
      exchange->part.empty() ? *impl->options.data_plane : impl->options.parts[exchange->part];
  auto stream = co_await net::connect(to, impl->options.limits.dial);
  if (!stream && stream.error().code == Code::cancelled) co_return std::move(stream.error());
  if (!stream)
    co_return Error{Code::unavailable, "this part of Glovebox is not there now",
                    "PART_UNAVAILABLE"};
  exchange->upstream = std::make_unique<Upstream>(std::move(*stream), impl->part_connections);
  co_return ok;
}

// The request's body, as far as the client sends it; then watches whether the client still is
// there. Ends only by an error.
Task<void> client_side(ClientPtr client, ExchangePtr exchange, bool chunked) {
  const Millis limit = client->impl->options.limits.write;
  const auto since = Steady::now();
  std::size_t seen = 0;
  net::Event never;
  while (!exchange->sent_whole) {
    CO_TRY(piece, co_await read_piece(client, exchange, since, seen));
    seen += piece.size();
    exchange->sending = true;
    const bool end = piece.empty();
    if (chunked) piece = end ? "0\r\n\r\n" : chunk(piece);
    auto sent = co_await exchange->upstream->stream->write_all(piece, limit);
    if (!sent && sent.error().code == Code::cancelled) co_return sent;
    if (!sent) {  // it may have answered without wanting all of it
      (void)co_await never.wait(kLastWords);
      co_return broken("the connection broke while the request was sent");
    }
    exchange->sent_whole = end;
  }
  while (client->input.size() < kReadAhead) {
    CO_TRY(got, co_await read_more(client, net::kForever));
    if (!got) co_return Error{Code::cancelled, "the client has gone"};
  }
  co_return co_await never.wait(net::kForever);
}

Task<bool> read_answer(const ClientPtr& client, ExchangePtr exchange) {
  Upstream& upstream = *exchange->upstream;
  for (;;) {
    // As long as the client sends, which has limits of its own, no answer is late.
    const bool sending = !exchange->sent_whole;
    auto got = co_await upstream.stream->read_some(upstream.input.room(), exchange->patience);
    if (got) {
      upstream.input.filled(*got);
      if (*got > 0) exchange->silent = false;
      co_return *got > 0;
    }
    if (got.error().code == Code::cancelled) co_return std::move(got.error());
    if (got.error().code != Code::timeout) co_return broken("the connection broke");
    if (exchange->patience < client->impl->options.limits.answer)
      co_return Error{Code::timeout, "not yet", std::string(kSlow)};
    if (!sending) co_return Error{Code::timeout, "no answer in time", "GATEWAY_TIMEOUT"};
  }
}

Task<void> read_answer_head(ClientPtr client, ExchangePtr exchange) {
  Upstream& upstream = *exchange->upstream;
  for (;;) {
    if (!exchange->answer)
      exchange->answer = http::response_parser(kAnswer, exchange->request.method == "HEAD");
    http::Parser& answer = *exchange->answer;
    while (!answer.head_done()) {
      std::size_t used = 0;
      if (!upstream.input.empty()) {
        auto fed = answer.feed(upstream.input.view());
        if (!fed) co_return broken("what answered does not speak HTTP");
        upstream.input.consume(used = *fed);
      }
      if (used > 0) continue;
      CO_TRY(got, co_await read_answer(client, exchange));
      if (!got) co_return broken("it closed the connection without an answer");
    }
    if (answer.status >= 200) co_return ok;
    if (answer.status == 101 && exchange->websocket) {
      exchange->switched = true;
      co_return ok;
    }
    if (answer.status == 101 || ++exchange->hints > kHints)
      co_return broken("its answer is none to this request");
    exchange->answer.reset();
  }
}

std::string begin_answer(Client& client, Exchange& exchange) {
  http::Parser& answer = *exchange.answer;
  http::Response response;
  response.status = exchange.status = answer.status;
  response.headers = std::move(answer.headers);
  const auto length = answer.content_length();
  drop_hop_by_hop(response.headers);
  const bool head = exchange.request.method == "HEAD";
  exchange.bodiless = head || answer.status == 204 || answer.status == 304;
  http::Framing framing;
  if (head || !exchange.bodiless) framing.length = length;
  exchange.chunked = !exchange.bodiless && !length && !exchange.http10;
  framing.chunked = exchange.chunked;
  if (!exchange.bodiless && !length && exchange.http10) client.close = true;
  if (client.impl->closing) client.close = true;
  framing.close = client.close;
  framing.keep_alive_10 = exchange.http10;
  exchange.begun = true;
  return http::response_head(response, framing, exchange.request.request_id);
}

// As far as `patience` goes; may be called again after that.
Task<void> answer_side(ClientPtr client, ExchangePtr exchange) {
  const Millis limit = client->impl->options.limits.write;
  std::string out;
  if (!exchange->begun) {
    CO_TRY_DO(co_await read_answer_head(client, exchange));
    if (exchange->switched) co_return ok;
    // It answers before it has seen all of the request: where the next one begins nobody knows.
    if (!exchange->sent_whole && !client->parser->done()) client->close = client->linger = true;
    out = begin_answer(*client, *exchange);
  }
  http::Parser& answer = *exchange->answer;
  Upstream& upstream = *exchange->upstream;
  for (;;) {
    if (!answer.body.empty()) {
      if (exchange->chunked)
        out += chunk(answer.body);
      else if (!exchange->bodiless)
        out += answer.body;
      answer.body.clear();
    }
    if (exchange->bodiless || answer.done()) break;
    if (!upstream.input.empty()) {
      auto used = answer.feed(upstream.input.view());
      if (!used) co_return broken("the answer's body is malformed");
      upstream.input.consume(*used);
      if (*used > 0) continue;
    }
    if (!out.empty()) {
      exchange->bytes += out.size();
      CO_TRY_DO(co_await client->stream->write_all(out, limit));
      out.clear();
    }
    CO_TRY(got, co_await read_answer(client, exchange));
    if (got) continue;
    auto ended = answer.feed_end();
    if (!ended) co_return broken("the answer was cut off");
  }
  if (exchange->chunked) out += "0\r\n\r\n";
  exchange->bytes += out.size();
  exchange->whole = true;
  co_return co_await client->stream->write_all(out, limit);
}

Task<void> send_and_answer(ClientPtr client, ExchangePtr exchange) {
  const IngressLimits& limits = client->impl->options.limits;
  BodyFraming framing;
  std::string first;
  if (exchange->body_read) {
    framing.length = exchange->body.size();
    first = exchange->body;
  } else if (!client->parser->done()) {
    framing.length = client->parser->content_length();
    framing.chunked = !framing.length;
    // What is here already goes with the head.
    if (!client->input.empty()) {
      auto used = client->parser->feed(client->input.view());
      if (used) client->input.consume(*used);
      exchange->expects = false;
    }
    first = std::exchange(client->parser->body, {});
    exchange->sending = !first.empty();
    if (framing.chunked && !first.empty()) first = chunk(first);
    if (framing.chunked && client->parser->done()) first += "0\r\n\r\n";
  } else if (client->parser->content_length()) {
    framing.length = 0;
  }
  const bool all = exchange->body_read || client->parser->done();
  exchange->sent_whole = all;
  const ForwardedFrom from{std::string(address_of(client->who.peer)), client->who.secure,
                           exchange->host};
  const std::string head =
      onward_head(exchange->request, exchange->onward_host, from, framing, exchange->websocket) +
      first;
  auto sent = co_await exchange->upstream->stream->write_all(head, limits.write);
  if (!sent && sent.error().code == Code::cancelled) co_return sent;
  if (!sent) co_return broken("the connection broke");
  exchange->patience = kSoon;
  Result<void> done = ok;
  if (all) {
    done = co_await answer_side(client, exchange);
    if (done || done.error().tag != kSlow) co_return done;
  }
  exchange->patience = limits.answer;
  auto answering = answer_side(client, exchange);
  auto sending = client_side(client, exchange, framing.chunked);
  co_return co_await net::first_of(std::move(answering), std::move(sending));
}

// --- after a WebSocket's handshake: bytes, both ways, until either side has enough

struct Pipe {
  std::shared_ptr<net::Stream> from, to;
  http::InputBuffer buffer;
  Millis write{};
  std::shared_ptr<bool> one_ended;  // of the two directions
  std::uint64_t bytes = 0;
};

Task<void> pump(std::shared_ptr<Pipe> pipe) {
  for (;;) {
    if (!pipe->buffer.empty()) {
      const std::string_view piece = pipe->buffer.view();
      CO_TRY_DO(co_await pipe->to->write_all(piece, pipe->write));
      pipe->bytes += piece.size();
      pipe->buffer.consume(piece.size());
      pipe->buffer.shrink();
    }
    CO_TRY(got, co_await pipe->from->read_some(pipe->buffer.room(), net::kForever));
    if (got == 0) break;
    pipe->buffer.filled(got);
  }
  pipe->to->shutdown_write();
  if (std::exchange(*pipe->one_ended, true)) co_return ok;
  // The other direction has its last words to say.
  co_return co_await net::sleep(kAfterClose);
}

Task<void> relay_socket(ClientPtr client, ExchangePtr exchange) {
  exchange->begun = true;
  exchange->status = 101;
  client->close = true;
  const Millis limit = client->impl->options.limits.write;
  CO_TRY_DO(co_await client->stream->write_all(
      switching_head(exchange->answer->headers, exchange->request.request_id), limit));
  auto one_ended = std::make_shared<bool>(false);
  auto in = std::make_shared<Pipe>(client->stream, exchange->upstream->stream,
                                   std::move(client->input), limit, one_ended);
  auto out = std::make_shared<Pipe>(exchange->upstream->stream, client->stream,
                                    std::move(exchange->upstream->input), limit, one_ended);
  client->input = {};
  client->parser.reset();
  if (exchange->use) {
    const BoxPtr& box = exchange->use->box;
    box->sockets.emplace(exchange->port, exchange->upstream->stream);
    // It changed while we were on the way: nobody else looks at this one.
    if (box->over) client->impl->tasks.spawn("ingress.cut", cut_sockets(client->impl, box));
  }
  sockets_now.add(1);
  (void)co_await net::first_of(pump(out), pump(in));
  sockets_now.add(-1);
  exchange->bytes += out->bytes;
  exchange->upstream->stream->close();
  if (exchange->use)
    std::erase_if(exchange->use->box->sockets, [&](const auto& socket) {
      return socket.second.lock() == exchange->upstream->stream || socket.second.expired();
    });
  co_return ok;
}

}  // namespace

Task<void> relay(ClientPtr client, ExchangePtr exchange) {
  for (bool fresh = false;; fresh = true) {
    if (!fresh) exchange->upstream = take_idle(client, *exchange);
    if (!exchange->upstream) CO_TRY_DO(co_await connect(client, exchange));
    auto done = co_await send_and_answer(client, exchange);
    if (done && exchange->switched) co_return co_await relay_socket(client, exchange);
    if (done || exchange->whole) {
      const bool again = exchange->answer->keep_alive() && exchange->sent_whole &&
                         exchange->upstream->input.empty();
      UpstreamPool* pool = again ? pool_of(client, *exchange) : nullptr;
      if (pool)
        pool->keep(std::move(exchange->upstream),
                   client->impl->options.limits.idle_box_connections);
      co_return done;
    }
    // It may have closed in the moment we sent: once more, where that does no harm.
    const bool stale = exchange->upstream->used && exchange->silent && !exchange->begun &&
                       done.error().tag == "BAD_GATEWAY";
    exchange->upstream.reset();
    exchange->answer.reset();
    if (!stale || exchange->sending || !may_repeat(exchange->request.method)) co_return done;
  }
}

}  // namespace glovebox::gateway

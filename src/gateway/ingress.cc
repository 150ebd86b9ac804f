#include "gateway/ingress.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/ingress_impl.h"
#include "http/connection.h"
#include "net/deadline.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

metrics::Gauge connections_now("ingress_connections", "Open connections of clients.");
metrics::Counter turned_away("ingress_connections_refused_total", "Connections over a limit.");

constexpr Millis kSweep{100};
constexpr auto kForgetSource = std::chrono::minutes(5);
constexpr std::size_t kTurningAway = 64;  // at a time; more are closed without a word
constexpr std::size_t kSources = 100'000;
constexpr Millis kCutLimit{5'000};

// The peers of connections that say nothing for hours are asked now and then whether they live.
void keep_asking(int socket) {
  const int on = 1, idle = 60, pause = 15, count = 4;
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &pause, sizeof pause);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

SourcePtr source_of(Ingress::Impl& impl, const std::string& name) {
  SourcePtr& source = impl.sources[name];
  if (!source) source = std::make_shared<Source>(impl.options.limits);
  source->seen = Steady::now();
  return source;
}

// Counted among the connections for as long as it lives.
struct Place {
  Place(ImplPtr in, SourcePtr of) : impl(std::move(in)), source(std::move(of)) {
    ++impl->connections;
    ++source->connections;
    connections_now.add(1);
  }
  Place(const Place&) = delete;
  ~Place() {
    --impl->connections;
    --source->connections;
    source->seen = Steady::now();
    connections_now.add(-1);
    impl->one_less.notify();
  }
  ImplPtr impl;
  SourcePtr source;
};

Task<void> serve(std::shared_ptr<Place> place, std::unique_ptr<net::Stream> stream) {
  co_return co_await serve_client(place->impl, std::move(stream), place->source);
}

// In plain words, which a client that came for TLS does not take for an answer.
Task<void> turn_away(ImplPtr impl, std::shared_ptr<net::Stream> stream) {
  stream->write_now(
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
      "Connection: close\r\n\r\n");
  (void)co_await http::linger(stream);
  --impl->turning_away;
  co_return ok;
}

Task<void> accept_all(ImplPtr impl, std::shared_ptr<net::Listener> listener) {
  for (;;) {
    CO_TRY(stream, co_await listener->accept());
    SourcePtr source = source_of(*impl, describe(stream->peer()).source);
    const IngressLimits& limits = impl->options.limits;
    if (impl->connections >= limits.connections ||
        source->connections >= limits.connections_of_source) {
      turned_away.add();
      if (impl->turning_away >= kTurningAway) continue;
      ++impl->turning_away;
      impl->tasks.spawn("ingress.turn_away", turn_away(impl, std::move(stream)));
      continue;
    }
    if (stream->socket() >= 0) keep_asking(stream->socket());
    auto place = std::make_shared<Place>(impl, std::move(source));
    impl->tasks.spawn("ingress.client", serve(std::move(place), std::move(stream)));
  }
}

Task<void> sweep(std::weak_ptr<Ingress::Impl> weak) {
  for (int turn = 0;; ++turn) {
    CO_TRY_DO(co_await net::sleep(kSweep));
    auto impl = weak.lock();
    if (!impl) co_return ok;
    sweep_boxes(*impl);
    if (turn % 100 != 0 && impl->sources.size() < kSources) continue;
    const auto now = Steady::now();
    std::erase_if(impl->sources, [&](const auto& source) {
      return source.second->connections == 0 && now - source.second->seen > kForgetSource;
    });
  }
}

Result<net::Address> start(const ImplPtr& impl, Result<net::Listener> opened) {
  if (!opened) return std::move(opened.error());
  auto listener = std::make_shared<net::Listener>(std::move(*opened));
  impl->listeners.push_back(listener);
  impl->tasks.spawn("ingress.accept", accept_all(impl, listener));
  return listener->address();
}

}  // namespace

IngressClient describe(const std::string& peer) {
  IngressClient client{.peer = peer, .source = peer, .loopback = false, .secure = false};
  auto address = net::Address::parse(peer);
  if (!address) return client;
  client.source = address->host;
  client.loopback = address->is_loopback();
  // A household has a /64, and all of its addresses are one's to choose from.
  in6_addr v6{};
  if (::inet_pton(AF_INET6, address->host.c_str(), &v6) == 1 && !IN6_IS_ADDR_V4MAPPED(&v6))
    client.source.assign(reinterpret_cast<const char*>(v6.s6_addr), 8);
  return client;
}

Result<std::unique_ptr<Ingress>> Ingress::open(net::Loop& loop, IngressOptions options) {
  auto impl = std::make_shared<Impl>(loop, std::move(options));
  std::weak_ptr<Impl> weak = impl;
  EngineLink::Hooks hooks;
  hooks.changed = [weak](const std::string& id) {
    if (auto impl = weak.lock()) box_changed(impl, id);
  };
  hooks.linked = [weak] {
    if (auto impl = weak.lock()) engine_came(impl);
  };
  hooks.key_hashes = [weak](std::vector<std::string> hashes) {
    if (auto impl = weak.lock()) impl->key_hashes = {hashes.begin(), hashes.end()};
  };
  TRY(engine, EngineLink::open(loop, impl->options.link_path, std::move(hooks)));
  impl->engine = std::move(engine);
  impl->tasks.spawn("ingress.sweep", sweep(impl));
  return std::unique_ptr<Ingress>(new Ingress(std::move(impl)));
}

Ingress::Ingress(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Ingress::~Ingress() {
  for (auto& listener : impl_->listeners) listener->close();
  impl_->tasks.cancel();
}

Result<net::Address> Ingress::adopt(Fd listener) {
  return start(impl_, net::Listener::adopt(impl_->loop, std::move(listener)));
}

Result<net::Address> Ingress::listen(const net::Address& address) {
  return start(impl_, net::Listener::open(impl_->loop, address));
}

void Ingress::set_metrics_key(Secret key) { impl_->options.metrics_key = std::move(key); }

Task<void> Ingress::close(Millis limit) {
  ImplPtr impl = impl_;
  for (auto& listener : impl->listeners) listener->close();
  impl->closing = true;
  for (net::Stream* idle : impl->idle_clients) idle->close();
  net::Deadline deadline(limit);
  while (impl->connections > 0 && deadline.left() > 0ms)
    if (!co_await impl->one_less.wait(deadline.left())) break;
  (void)co_await impl->tasks.finish(kCutLimit);
  co_return co_await impl->engine->close();
}

}  // namespace glovebox::gateway

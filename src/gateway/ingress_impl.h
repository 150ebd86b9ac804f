// What the ingress's files share. Only for them.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gateway/ingress.h"
#include "gateway/ingress_engine.h"
#include "gateway/ingress_route.h"
#include "gateway/pace.h"
#include "http/input_buffer.h"
#include "http/parser.h"

namespace glovebox::gateway {

using Steady = std::chrono::steady_clock;

// Where connections come from.
struct Source {
  explicit Source(const IngressLimits& limits)
      : requests(limits.requests_per_second, limits.request_burst),
        wakes(limits.wakes_per_second, limits.wake_burst),
        refusals(limits.refusals_per_second, limits.refusal_burst) {}
  Pace requests, wakes, refusals;
  std::size_t connections = 0, bodies = 0;
  Steady::time_point seen = Steady::now();
};
using SourcePtr = std::shared_ptr<Source>;

// One more, for as long as it lives.
struct Counted {
  explicit Counted(std::size_t& of) : count(of) { ++count; }
  Counted(const Counted&) = delete;
  ~Counted() { --count; }
  std::size_t& count;
};

// A connection to a box's port, or to another part.
struct Upstream {
  Upstream(std::unique_ptr<net::Stream> to, std::shared_ptr<std::size_t> among)
      : stream(std::move(to)), count(std::move(among)) {
    ++*count;
  }
  Upstream(const Upstream&) = delete;
  ~Upstream() { --*count; }
  std::shared_ptr<net::Stream> stream;
  http::InputBuffer input;
  Steady::time_point idle_since{};
  bool used = false;                   // for a request before this one
  std::shared_ptr<std::size_t> count;  // of the connections there
};
using UpstreamPtr = std::unique_ptr<Upstream>;

struct UpstreamPool {
  std::vector<UpstreamPtr> idle;
  // One that seems alive and was idle for at most `age`, or null.
  UpstreamPtr take(Millis age);
  void keep(UpstreamPtr upstream, std::size_t most);
};

// A sandbox, as it was when the engine was last asked. Replaced when it changes; requests under way
// keep theirs.
struct KnownBox {
  wire::IngressBox box;
  std::map<int, UpstreamPool> ports;
  std::shared_ptr<std::size_t> connections = std::make_shared<std::size_t>(0);
  std::multimap<int, std::weak_ptr<net::Stream>> sockets;  // WebSockets to its ports
  struct Wake {
    std::optional<Result<void>> result;
    net::Event done;
  };
  std::shared_ptr<Wake> waking;  // one for all who wait
  bool held = false;
  Steady::time_point woken{};  // lately
  bool over = false;           // what we know of it is not so any more
  std::size_t users = 0;
  Steady::time_point last_use = Steady::now();
  std::map<std::string, std::pair<int, std::int64_t>> tokens;  // seen and good: port, end (unix ms)
};
using BoxPtr = std::shared_ptr<KnownBox>;

// A request under way in a box.
struct BoxUse {
  explicit BoxUse(BoxPtr of) : box(std::move(of)) { ++box->users; }
  BoxUse(const BoxUse&) = delete;
  ~BoxUse() {
    --box->users;
    box->last_use = Steady::now();
  }
  BoxPtr box;
};

struct Ingress::Impl : std::enable_shared_from_this<Ingress::Impl> {
  Impl(net::Loop& on, IngressOptions with) : loop(on), options(std::move(with)), tasks(on) {}
  net::Loop& loop;
  IngressOptions options;
  std::shared_ptr<EngineLink> engine;
  std::set<std::string, std::less<>> key_hashes;
  std::map<std::string, SourcePtr> sources;
  std::map<std::string, BoxPtr, std::less<>> boxes;        // by id
  std::map<std::string, std::string, std::less<>> labels;  // id or name → id
  std::map<std::string, UpstreamPool, std::less<>> parts;  // by label; "": the data plane
  std::shared_ptr<std::size_t> part_connections = std::make_shared<std::size_t>(0);
  std::set<net::Stream*> idle_clients;  // without a request under way
  std::vector<std::shared_ptr<net::Listener>> listeners;
  std::size_t connections = 0, bodies = 0, turning_away = 0;
  std::uint64_t changes = 0;  // that the engine told of
  bool closing = false;
  net::Event one_less;
  net::TaskGroup tasks;
};
using ImplPtr = std::shared_ptr<Ingress::Impl>;

// ingress_boxes.cc
// Who the label means: as far as we know (null: no further), and as the engine says. Code::gone:
// nobody any more.
BoxPtr known_box(const Ingress::Impl& impl, const std::string& label);
Task<BoxPtr> find_box(ImplPtr impl, std::string label);
// Wakes the box and keeps it awake for as long as what this gives lives.
Task<std::shared_ptr<BoxUse>> use_box(ImplPtr impl, BoxPtr box, SourcePtr source);
Task<UpstreamPtr> connect_box(ImplPtr impl, BoxPtr box, int port);
Task<void> cut_sockets(ImplPtr impl, BoxPtr before);
void box_changed(ImplPtr impl, const std::string& id);
void engine_came(ImplPtr impl);
void sweep_boxes(Ingress::Impl& impl);

// ingress_access.cc
// May whoever sends these headers have this port? Gives a token that is to be checked before, or
// "". Takes off what is for us and not for the box.
Result<std::string> check_access(const Ingress::Impl& impl, const wire::IngressPort* port,
                                 Source& source, http::Headers& headers);
Task<void> check_token(ImplPtr impl, BoxPtr box, int port, std::string token, SourcePtr source);

// ingress_client.cc
// All requests of one connection.
Task<void> serve_client(ImplPtr impl, std::unique_ptr<net::Stream> stream, SourcePtr source);

// ingress.cc
IngressClient describe(const std::string& peer);

}  // namespace glovebox::gateway

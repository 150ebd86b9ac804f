// What the ingress knows of sandboxes, waking them, and the connections into them.
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/ingress_impl.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

metrics::Counter wakes_total("ingress_wakes_total", "Sandboxes that were woken by a request.");
metrics::Histogram wake_seconds("ingress_wake_seconds",
                                "From the request to the sandbox that is awake.");
metrics::Counter dials_total("ingress_dials_total", "Connections made into sandboxes.");

using What = wire::IngressAsk::What;

constexpr Millis kLookLimit{20'000};
constexpr Millis kListenPause{50};
constexpr auto kIdleUpstream = std::chrono::seconds(60);

Task<void> wake(ImplPtr impl, BoxPtr box, std::shared_ptr<KnownBox::Wake> waking, SourcePtr source,
                bool may_wake) {
  const auto begun = Steady::now();
  wire::IngressAsk ask{.what = What::hold,
                       .box = box->box.id,
                       .generation = box->box.generation,
                       .may_wake = may_wake};
  auto answer = co_await EngineLink::ask(impl->engine, std::move(ask), impl->options.limits.engine,
                                         impl->options.limits.wake);
  box->waking.reset();
  box->held = answer.has_value();
  if (answer && answer->say.woke) {
    box->woken = Steady::now();
    wakes_total.add();
    wake_seconds.observe(std::chrono::duration<double>(Steady::now() - begun).count());
  } else if (source && may_wake) {
    source->wakes.put_back();
  }
  waking->result = answer ? Result<void>(ok) : Result<void>(std::move(answer.error()));
  waking->done.notify();
  co_return ok;
}

std::shared_ptr<KnownBox::Wake> start_wake(const ImplPtr& impl, const BoxPtr& box,
                                           SourcePtr source) {
  // Taken before, so that many at once do not all pass with the same one.
  const bool may_wake = !source || source->wakes.take();
  auto waking = std::make_shared<KnownBox::Wake>();
  box->waking = waking;
  impl->tasks.spawn("ingress.wake", wake(impl, box, waking, std::move(source), may_wake));
  return waking;
}

// Of one that nobody is to find any more, but that is in use.
std::string own_name(const std::string& id, const KnownBox& box) {
  return str(id, '#', reinterpret_cast<std::uintptr_t>(&box));
}

}  // namespace

// A port that is not exposed any more is shut for those who are in, too.
Task<void> cut_sockets(ImplPtr impl, BoxPtr before) {
  wire::IngressAsk ask{.what = What::look, .box = before->box.id};
  auto now = co_await EngineLink::ask(impl->engine, std::move(ask), impl->options.limits.engine,
                                      kLookLimit);
  if (!now && now.error().code == Code::cancelled) co_return ok;
  for (const auto& [port, weak] : before->sockets) {
    const bool still = now && now->say.box && now->say.box->port(port);
    if (auto stream = weak.lock(); stream && !still) stream->close();
  }
  co_return ok;
}

UpstreamPtr UpstreamPool::take(Millis age) {
  const auto now = Steady::now();
  while (!idle.empty()) {
    UpstreamPtr last = std::move(idle.back());
    idle.pop_back();
    if (now - last->idle_since > age) continue;
    if (last->stream->idle()) return last;
  }
  return nullptr;
}

void UpstreamPool::keep(UpstreamPtr upstream, std::size_t most) {
  if (most == 0) return;
  if (idle.size() >= most) idle.erase(idle.begin());
  upstream->input.shrink();
  upstream->idle_since = Steady::now();
  upstream->used = true;
  idle.push_back(std::move(upstream));
}

BoxPtr known_box(const Ingress::Impl& impl, const std::string& label) {
  auto known = impl.labels.find(label);
  if (known == impl.labels.end()) return nullptr;
  auto box = impl.boxes.find(known->second);
  return box == impl.boxes.end() ? nullptr : box->second;
}

Task<BoxPtr> find_box(ImplPtr impl, std::string label) {
  for (int i = 0;; ++i) {
    const std::uint64_t changes = impl->changes;
    wire::IngressAsk ask{.what = What::look, .box = label};
    CO_TRY(answer, co_await EngineLink::ask(impl->engine, std::move(ask),
                                            impl->options.limits.engine, kLookLimit));
    if (!answer.say.box) co_return Error{Code::internal, "the engine's answer says nothing"};
    // What changed while we asked may be what we were told. Where all changes all the time it is
    // used, and not kept.
    const bool certain = changes == impl->changes;
    if (!certain && i < 3) continue;
    const std::string id = answer.say.box->id;
    // Others may have asked at the same time: one box, one object.
    if (auto known = impl->boxes.find(id); certain && known != impl->boxes.end()) {
      impl->labels[std::move(label)] = id;
      co_return known->second;
    }
    auto box = std::make_shared<KnownBox>();
    box->box = std::move(*answer.say.box);
    box->over = !certain;
    impl->boxes[certain ? id : own_name(id, *box)] = box;
    if (certain) impl->labels[std::move(label)] = id;
    co_return box;
  }
}

void box_changed(ImplPtr impl, const std::string& id) {
  ++impl->changes;
  // Of those that changed before, and have names of their own, too.
  for (auto one = impl->boxes.lower_bound(id);
       one != impl->boxes.end() && one->first.starts_with(id); ++one)
    if (one->second->box.id == id && !one->second->sockets.empty())
      impl->tasks.spawn("ingress.cut", cut_sockets(impl, one->second));
  auto found = impl->boxes.find(id);
  if (found == impl->boxes.end()) return;
  BoxPtr before = std::move(found->second);
  impl->boxes.erase(found);
  std::erase_if(impl->labels, [&](const auto& label) { return label.second == id; });
  before->ports.clear();
  before->over = true;
  if (before->users > 0 || before->held || before->waking) {
    // It is let go by its last user: kept under a name of its own until then.
    impl->boxes[own_name(id, *before)] = before;
  }
}

void engine_came(ImplPtr impl) {
  // What was held the engine before has forgotten, and what it said may have changed meanwhile.
  ++impl->changes;
  impl->labels.clear();
  for (auto& [id, box] : impl->boxes) {
    box->held = false;
    if (box->users > 0 && !box->waking) (void)start_wake(impl, box, nullptr);
  }
  // What is known of their ports, too.
  std::set<std::string> ids;
  for (const auto& [name, box] : impl->boxes)
    if (!name.contains('#') || !box->sockets.empty()) ids.insert(box->box.id);
  for (const std::string& id : ids) box_changed(impl, id);
}

void sweep_boxes(Ingress::Impl& impl) {
  const auto now = Steady::now();
  std::erase_if(impl.boxes, [&](auto& entry) {
    KnownBox& box = *entry.second;
    if (box.users > 0 || box.waking) return false;
    // Where there is no room for saying it the engine would hold it for ever: said again next time.
    if (box.held && now - box.last_use > impl.options.limits.hold_on)
      box.held = !impl.engine->release(box.box.id) && impl.engine->linked();
    for (auto& [port, pool] : box.ports)
      std::erase_if(pool.idle,
                    [&](const auto& idle) { return now - idle->idle_since > kIdleUpstream; });
    return !box.held &&
           (entry.first.contains('#') || now - box.last_use > impl.options.limits.forget);
  });
  if (impl.labels.size() > impl.boxes.size() * 2 + 16)
    std::erase_if(impl.labels,
                  [&](const auto& label) { return !impl.boxes.contains(label.second); });
}

Task<std::shared_ptr<BoxUse>> use_box(ImplPtr impl, BoxPtr box, SourcePtr source) {
  auto use = std::make_shared<BoxUse>(box);
  // It changed since it was found, or was forgotten (and what changed then, nobody has told it):
  // somebody has to let go of it all the same.
  auto known = impl->boxes.find(box->box.id);
  if (known == impl->boxes.end() || known->second != box) {
    box->over = true;
    impl->boxes[own_name(box->box.id, *box)] = box;
  }
  while (!box->held) {
    auto waking = box->waking;
    const bool mine = !waking;
    if (mine) waking = start_wake(impl, box, source);
    while (!waking->result) CO_TRY_DO(co_await waking->done.wait(net::kForever));
    if (*waking->result) break;
    // Another's wakes may be used up where ours are not.
    if (waking->result->error().tag == "TOO_MANY_WAKES" && !mine && source->wakes.has()) continue;
    co_return waking->result->error();
  }
  co_return use;
}

Task<UpstreamPtr> connect_box(ImplPtr impl, BoxPtr box, int port) {
  if (*box->connections >= impl->options.limits.box_connections)
    co_return Error{Code::exhausted, "too many connections to this sandbox",
                    "TOO_MANY_CONNECTIONS"};
  const Counted dialing(*box->connections);  // among them already now
  const IngressLimits& limits = impl->options.limits;
  const wire::IngressAsk ask{
      .what = What::dial, .box = box->box.id, .generation = box->box.generation, .port = port};
  auto answer = co_await EngineLink::ask(impl->engine, ask, limits.engine, limits.dial + 10s);
  // One that was woken cold starts its programs anew.
  while (!answer && answer.error().tag == "CONNECTION_REFUSED" &&
         Steady::now() - box->woken < limits.start) {
    CO_TRY_DO(co_await net::sleep(kListenPause));
    answer = co_await EngineLink::ask(impl->engine, ask, limits.engine, limits.dial + 10s);
  }
  if (!answer) co_return std::move(answer.error());
  if (!answer->fd) co_return Error{Code::internal, "the engine gave no connection"};
  CO_TRY(stream, net::adopt(impl->loop, std::move(answer->fd)));
  dials_total.add();
  co_return std::make_unique<Upstream>(std::move(stream), box->connections);
}

}  // namespace glovebox::gateway

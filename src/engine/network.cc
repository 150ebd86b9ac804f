#include "engine/network.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "base/metrics.h"
#include "engine/network_kernel.h"
#include "engine/network_policy.h"
#include "net/task.h"
#include "sys/nft.h"

namespace glovebox::engine {

static metrics::Counter changes_total("engine_network_changes_total",
                                      "Policies of boxes put into force.");
static metrics::Gauge links("engine_network_links", "Links of boxes, those made ahead too.");

// Two addresses for every range of user ids there can be.
static Result<sys::Ip4> range_of(const std::string& text) {
  TRY(range, parse_rule(text), "engine.network_range");
  if (range.first.size() != 4 || range.first.substr(2) != std::string(2, '\0') ||
      range.last.substr(2) != "\xff\xff")
    return Error{Code::invalid, str("engine.network_range: ", text,
                                    " must be a block of IPv4 addresses with a whole /16 in it")};
  sys::Ip4 out;
  std::copy(range.first.begin(), range.first.end(), out.begin());
  return out;
}

Result<std::unique_ptr<Network>> Network::make(net::Loop& loop, Options options) {
  TRY(range, range_of(options.range));
  std::string resolver = options.resolver;
  return std::unique_ptr<Network>(
      new Network(loop, std::make_unique<Kernel>(std::move(options), range), std::move(resolver)));
}

Network::Network(net::Loop& loop, std::unique_ptr<Kernel> kernel, std::string resolver)
    : kernel_(std::move(kernel)), work_(loop) {
  // Only looks, so it may do so beside what else the kernel is told.
  auto first_process = [this](const std::string& id) { return kernel_->first_process(id); };
  resolver_ = std::make_unique<ResolverLink>(loop, std::move(resolver), first_process);
}
Network::~Network() = default;

bool Network::linked(const std::string& id) const { return linked_.contains(id); }

void Network::note(const std::string& id, bool has_link) {
  if (has_link) {
    linked_.insert(id);
  } else {
    linked_.erase(id);
  }
  links.set(static_cast<std::int64_t>(linked_.size()));
}

Task<void> Network::recover(std::vector<Known> boxes) {
  auto whole = std::make_shared<std::set<std::string>>();
  std::function<Result<void>()> sweep = [this, boxes, whole]() -> Result<void> {
    TRY(found, kernel_->sweep(boxes));
    *whole = std::move(found);
    return ok;
  };
  auto swept = co_await pool_.run(std::move(sweep));
  if (!swept) trouble_ = swept.error().what;
  for (const auto& id : *whole) note(id, true);
  for (const auto& box : boxes) {
    if (linked(box.id) && box.policy.link) in_force_[box.id] = box.policy;
    if (linked(box.id) && box.policy.resolver)
      (void)co_await resolver_->serve(box.id, !box.policy.named.empty());
    bool lacks = box.policy.link && !box.blank && !linked(box.id);
    if (!lacks) continue;
    auto attached = co_await attach(box.id, box.base, box.policy);
    if (!attached)
      log::error("network.attach", {{"sandbox", box.id}, {"error", attached.error().what}});
  }
  resolver_->start();
  work_.spawn("rules", watch());
  co_return ok;
}

Task<void> Network::prepare() {
  if (ready_) co_return ok;
  std::function<Result<void>()> set_up = [this]() -> Result<void> {
    return kernel_->is_set_up() ? ok : kernel_->set_up();
  };
  auto done = co_await pool_.run(std::move(set_up));
  std::string trouble = done ? "" : done.error().what;
  if (!done && trouble != trouble_) log::warn("network.unavailable", {{"error", trouble}});
  trouble_ = std::move(trouble);
  ready_ = done.has_value();
  co_return done;
}

Task<void> Network::make_link(std::string id, uid_t base) {
  if (linked(id)) co_return ok;
  CO_TRY_DO(co_await prepare());
  std::function<Result<void>()> make = [this, id, base] { return kernel_->make_link(id, base); };
  CO_TRY_DO(co_await pool_.run(std::move(make)));
  note(id, true);
  co_return ok;
}

Task<void> Network::attach(std::string id, uid_t base, NetworkPolicy policy) {
  if (!policy.link) {
    if (!linked(id)) co_return ok;
    CO_TRY_DO(co_await detach(id));
    std::function<Result<void>()> cut = [this, id] { return kernel_->cut(id, {}); };
    auto told = co_await pool_.run(std::move(cut));
    if (!told) log::warn("network.cut", {{"sandbox", id}, {"error", told.error().what}});
    co_return ok;
  }
  if (auto held = in_force_.find(id); held != in_force_.end()) {
    if (held->second == policy) co_return ok;
    in_force_.erase(held);
  }
  CO_TRY_DO(co_await make_link(id, base));
  std::function<Result<void>()> apply = [this, id, base, policy]() -> Result<void> {
    const bool changes = kernel_->has_rules(id);
    TRY_DO(kernel_->apply(id, base, policy));
    // The rules hold already; this only tells those who wait.
    auto told = changes ? kernel_->cut(id, policy) : ok;
    if (!told) log::warn("network.cut", {{"sandbox", id}, {"error", told.error().what}});
    return ok;
  };
  CO_TRY_DO(co_await pool_.run(std::move(apply)));
  changes_total.add();
  if (policy.resolver) {
    CO_TRY_DO(co_await resolver_->serve(id, !policy.named.empty()));
  } else {
    resolver_->forget(id);
  }
  in_force_[id] = std::move(policy);
  co_return ok;
}

Task<void> Network::detach(std::string id) {
  resolver_->forget(id);
  in_force_.erase(id);
  if (!linked(id)) co_return ok;
  // Rules first: what they allowed must not be the next one's who gets these addresses.
  auto name = std::make_shared<std::string>();
  std::function<Result<void>()> forget = [this, id, name]() -> Result<void> {
    *name = kernel_->link_of(id);
    return kernel_->forget(id);
  };
  CO_TRY_DO(co_await pool_.run(std::move(forget)), "rules of ", id);
  note(id, false);
  doomed_.push_back(*name);
  const std::size_t mine = ++to_reap_;
  if (!reaping_) {
    reaping_ = true;
    work_.spawn("links", reap());
  }
  while (reaped_ < mine) {
    auto waited = co_await reaped_more_.wait(1s);
    if (!waited && waited.error().code == Code::cancelled) co_return waited;
  }
  co_return ok;
}

// Deleting links one by one costs tens of milliseconds each, together hardly more than one.
Task<void> Network::reap() {
  while (!doomed_.empty()) {
    auto batch = std::exchange(doomed_, {});
    const std::size_t count = batch.size();
    std::function<Result<void>()> remove = [this, batch] { return kernel_->delete_links(batch); };
    auto done = co_await pool_.run(std::move(remove));
    if (!done && done.error().code == Code::cancelled) co_return ok;  // we may be gone
    if (!done) log::error("network.delete", {{"error", done.error().what}});
    reaped_ += count;
    reaped_more_.notify();
  }
  reaping_ = false;
  co_return ok;
}

// Whoever sets up this machine's firewall may begin by taking everything away, ours too.
Task<void> Network::watch() {
  auto changes = sys::nft::watch_changes();
  if (!changes) co_return ok;  // no nftables: nothing of ours in it either
  for (;;) {
    auto changed = co_await net::readable(changes->get(), 3600s);
    if (!changed && changed.error().code != Code::timeout) co_return ok;
    if (!changed) continue;
    char buffer[8192];
    while (::recv(changes->get(), buffer, sizeof buffer, 0) >= 0 || errno == ENOBUFS) {
    }
    std::function<Result<void>()> check = [this] { return kernel_->check(); };
    auto checked = co_await pool_.run(std::move(check));
    if (!checked) log::error("network.rules", {{"error", checked.error().what}});
  }
}

Task<void> Network::release() {
  std::function<Result<void>()> all = [this] { return kernel_->release(); };
  CO_TRY_DO(co_await pool_.run(std::move(all)), "network");
  linked_.clear();
  in_force_.clear();
  ready_ = false;
  co_return ok;
}

}  // namespace glovebox::engine

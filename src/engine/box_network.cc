// The network of a box: which policy holds for it, and when that comes into force.

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "engine/core.h"
#include "engine/warm_pool.h"
#include "net/task.h"

namespace glovebox::engine {

static const wire::Network kNone{.allow_internet_access = false, .allow_out = {}, .deny_out = {}};

Task<std::optional<wire::Network>> Core::settle_network(std::optional<wire::Network> asked) {
  if (asked) {
    CO_TRY(policy, parse_policy(*asked));
    if (!policy.link) co_return asked;
    auto ready = co_await network->prepare();
    if (ready) co_return asked;
    co_return Error{Code::unsupported,
                    str("network: this machine can give sandboxes no network but loopback (",
                        ready.error().what, "); allow_internet_access false asks for none"),
                    "NETWORK_UNAVAILABLE"};
  }
  // Nobody asked: a machine that cannot do it makes boxes all the same, and their records say what
  // they are.
  if (options.default_network == "none") co_return kNone;
  auto ready = co_await network->prepare();
  if (!ready) co_return kNone;
  co_return asked;
}

NetworkPolicy Core::policy_of(const wire::SandboxRecord& record) const {
  auto policy = parse_policy(record.network.value_or(wire::Network{}));
  if (policy) return *policy;
  log::error("network.policy", {{"sandbox", record.id}, {"error", policy.error().what}});
  return {};
}

Task<void> Core::attach_network(std::shared_ptr<Box> box) {
  co_return co_await network->attach(box->record.id, box->base, policy_of(box->record));
}

// The record is changed already. If the kernel refuses, what held before holds again.
Task<void> Core::change_network(std::shared_ptr<Box> box, std::optional<wire::Network> before) {
  if (box->pid == 0) co_return ok;  // it gets its link when it starts
  auto changed = co_await attach_network(box);
  if (changed || box->record.status == wire::State::terminated) co_return changed;
  wire::SandboxRecord record = box->record;
  record.network = std::move(before);
  CO_TRY_DO(records->save(record), "note");
  box->record = std::move(record);
  auto back = co_await attach_network(box);
  if (!back)
    log::error("network.back", {{"sandbox", box->record.id}, {"error", back.error().what}});
  co_return std::move(changed.error()).with("network");
}

Task<void> Core::recover_network() {
  std::vector<Network::Known> known;
  for (const auto& [id, box] : boxes)
    if (box->pid != 0) known.push_back({id, box->base, policy_of(box->record), false});
  for (const auto& [id, pool] : pools->all)
    for (const auto& box : pool->warm) {
      // Not settled by asking the kernel: the rules are to be made anew once, with all boxes in
      // them, or connections there are would be refused in between.
      if (!box->record.network && options.default_network == "none") box->record.network = kNone;
      known.push_back({box->record.id, box->base, policy_of(box->record), false});
    }
  for (const auto& blank : blanks) known.push_back({blank.id, blank.base, usual_policy(), true});
  CO_TRY_DO(co_await network->recover(std::move(known)), "network");
  if (options.default_network == "none") co_return ok;
  link_share = 1;
  (void)co_await network->prepare();  // says in the log why not
  co_return ok;
}

// Of the blanks as many have a link as are likely to be asked for with one.
std::optional<bool> Core::lacking_blank() const {
  const auto all = static_cast<std::ptrdiff_t>(options.blanks);
  const auto there = std::ssize(blanks);
  const auto linked =
      std::ranges::count_if(blanks, [&](const auto& blank) { return network->linked(blank.id); });
  const auto wanted = network->trouble().empty() ? std::lround(link_share * options.blanks) : 0;
  if (linked < wanted) return true;
  if (there - linked < all - wanted) return false;
  return std::nullopt;
}

}  // namespace glovebox::engine

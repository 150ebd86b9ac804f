// Pools: their definitions, the boxes kept ready for them, and claims.

#include "engine/warm_pool.h"

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/finish.h"

namespace glovebox::engine {

static metrics::Histogram claim_seconds("engine_pool_claim_seconds",
                                        "From the request to a warm sandbox that is the caller's.");
static metrics::Counter claimed_total("engine_pool_claims_total",
                                      "Warm sandboxes that were claimed.");
static metrics::Counter missed_total("engine_pool_misses_total",
                                     "Claims for which no warm sandbox was there.");

namespace {

constexpr std::size_t kMakersOfAPool = 4;  // a maker is mostly waiting for the launcher
constexpr Millis kFirstPause = 250ms, kLongestPause = 30s;
constexpr Millis kQueueLimit = 600s;
constexpr const char* kPoolFull = "pool_at_capacity";
constexpr Millis kMakingLimit = 10s;  // a claim waits so long for what is being made

using PoolPtr = std::shared_ptr<WarmPool>;

Error unknown(const std::string& id) {
  return {Code::not_found, str("no sandbox pool ", id), "POOL_NOT_FOUND"};
}

wire::CreateSandbox spec_of(const wire::Pool& pool) {
  wire::CreateSandbox spec;
  spec.image = pool.spec.image;
  spec.resources = pool.spec.resources;
  spec.timeout_secs = pool.spec.timeout_secs;
  spec.entrypoint = pool.spec.entrypoint;
  spec.network = pool.spec.network;
  spec.pool_id = pool.id;
  return spec;
}

// Whether boxes of the one are no boxes of the other.
bool other_boxes(const wire::PoolSpec& one, const wire::PoolSpec& other) {
  wire::PoolSpec a = one, b = other;
  for (wire::PoolSpec* spec : {&a, &b}) {
    spec->timeout_secs = 0;
    spec->max_containers = spec->warm_containers = 0;
  }
  return wire::encode_pool({.spec = a}) != wire::encode_pool({.spec = b});
}

Result<void> check_numbers(const wire::PoolSpec& spec) {
  if (spec.max_containers && spec.warm_containers && *spec.warm_containers > *spec.max_containers)
    return Error{Code::invalid,
                 str("warm_containers: ", *spec.warm_containers,
                     " cannot be more than max_containers, which is ", *spec.max_containers)};
  return ok;
}

}  // namespace

Result<PoolPtr> Core::pool_of(const std::string& id) const {
  auto found = pools->all.find(id);
  if (found == pools->all.end()) return unknown(id);
  return found->second;
}

// Sandboxes that were claimed from it and live; those that wait for room are not among them.
std::vector<std::shared_ptr<Box>> Core::claimed_of(const WarmPool& wanted) const {
  std::vector<std::shared_ptr<Box>> claimed;
  for (const auto& [id, box] : boxes)
    if (box->record.pool_id == wanted.record.id &&
        std::ranges::find(wanted.waiting, box) == wanted.waiting.end())
      claimed.push_back(box);
  return claimed;
}

std::size_t Core::room_of(const WarmPool& wanted) const {
  if (!wanted.record.spec.max_containers) return SIZE_MAX;
  auto most = static_cast<std::size_t>(*wanted.record.spec.max_containers);
  std::size_t there = claimed_of(wanted).size() + wanted.warm.size() + wanted.making;
  return most > there ? most - there : 0;
}

Task<wire::Pool> Core::create_pool(wire::PoolSpec spec) {
  CO_TRY_DO(check_numbers(spec));
  auto made = std::make_shared<WarmPool>();
  made->record.id = new_id();
  made->record.spec = std::move(spec);
  CO_TRY_DO(check(spec_of(made->record)));
  made->record.created_at = made->record.updated_at = system_clock().unix_ms();
  CO_TRY_DO(pools->records.save(made->record), "note");
  CO_FAULT("pool.after_create");
  pools->all[made->record.id] = made;
  pools->wanted.notify();
  CO_TRY_DO(co_await synced());
  log::info("pool.created", {{"pool", made->record.id}});
  co_return made->record;
}

Task<wire::Pool> Core::update_pool(std::string id, wire::PoolSpec spec) {
  CO_TRY(known_pool, pool_of(id));
  CO_TRY_DO(check_numbers(spec));
  wire::Pool changed = known_pool->record;
  if (spec.keep_network) spec.network = changed.spec.network;
  spec.keep_network = true;
  changed.spec = std::move(spec);
  changed.updated_at = system_clock().unix_ms();
  CO_TRY_DO(check(spec_of(changed)));
  const bool others = other_boxes(known_pool->record.spec, changed.spec);
  CO_TRY_DO(pools->records.change(changed, others), "note");
  CO_FAULT("pool.after_update");
  known_pool->record = std::move(changed);
  if (others) {
    ++known_pool->version;  // what is being made now is of the old kind
    while (!known_pool->warm.empty()) drop_warm(*known_pool, known_pool->warm.back());
  }
  pools->wanted.notify();
  CO_TRY_DO(co_await synced());
  co_return known_pool->record;
}

Task<void> Core::remove_pool(std::string id) {
  CO_TRY(known_pool, pool_of(id));
  drop_ended(*known_pool);
  std::size_t alive = claimed_of(*known_pool).size() + known_pool->waiting.size();
  if (alive > 0)
    co_return Error{Code::conflict,
                    str("pool ", id, " is in use: ", alive,
                        " sandboxes claimed from it are alive; delete them first"),
                    "POOL_IN_USE"};
  CO_TRY_DO(pools->records.remove(id), "note");
  CO_FAULT("pool.after_delete");
  known_pool->removed = true;
  pools->all.erase(id);
  while (!known_pool->warm.empty()) drop_warm(*known_pool, known_pool->warm.back());
  known_pool->changed.notify();
  CO_TRY_DO(co_await synced());
  log::info("pool.removed", {{"pool", id}});
  co_return ok;
}

std::vector<wire::PoolContainer> Core::containers_of(const WarmPool& wanted) const {
  std::vector<wire::PoolContainer> list;
  for (const auto& box : claimed_of(wanted))
    if (!box->record.id.empty()) list.push_back({box->record.id, box->record.id});
  for (const auto& box : wanted.warm) list.push_back({box->record.id, ""});
  return list;
}

// Claims that were deleted while they waited, or have waited for too long.
void Core::drop_ended(WarmPool& of) {
  std::erase_if(of.waiting,
                [](const auto& box) { return box->record.status != wire::State::pending; });
  if (of.waiting.empty()) return;
  auto first = of.waiting.front();
  if (system_clock().unix_ms() - first->record.created_at < kQueueLimit.count()) return;
  of.waiting.pop_front();
  auto ended = terminate(first, "Failure", "PoolFull",
                         str("no sandbox of the pool ended within ", kQueueLimit / 1s, " s"));
  if (!ended) log::error("pool.queue", {{"error", ended.error().what}});
}

// ---- the boxes kept ready

void Core::drop_warm(WarmPool& from, std::shared_ptr<Box> box) {
  std::erase(from.warm, box);
  end_warm(box->record.id, box->base);
}

// Should we die between the two, the next start finds a box that nobody knows, and ends it.
void Core::end_warm(const std::string& id, uid_t base) {
  auto gone = pools->records.remove_warm(id);
  if (!gone) log::error("pool.record", {{"box", id}, {"error", gone.error().what}});
  start_cleaning(id, base);
}

Task<void> Core::keep_pools() {
  while (!closing) {
    CO_TRY_DO(co_await told(pools->wanted));
    if (closing) break;
    std::vector<PoolPtr> all;
    for (const auto& [id, one] : pools->all) all.push_back(one);
    for (const auto& one : all) tend(one);
  }
  co_return ok;
}

void Core::tend(const PoolPtr& one) {
  const wire::PoolSpec& spec = one->record.spec;
  drop_ended(*one);
  // Who waits comes before what nobody has asked for yet.
  while (!one->waiting.empty() && room_of(*one) > 0) {
    auto box = one->waiting.front();
    one->waiting.pop_front();
    box->settled = false;  // who deletes it waits for what begins here
    work.spawn("claim " + box->record.id, start_waiting(box));
  }
  auto wanted = static_cast<std::size_t>(spec.warm_containers.value_or(0));
  while (one->warm.size() > wanted) drop_warm(*one, one->warm.back());
  if (!launcher || !launcher->alive() || std::chrono::steady_clock::now() < one->not_before) return;
  // A task begins after we are done here, so what is begun now is counted here.
  std::size_t begun = 0;
  while (one->warm.size() + one->making + begun < wanted && one->making + begun < kMakersOfAPool &&
         room_of(*one) > begun) {
    ++begun;
    work.spawn("warm " + one->record.id, make_warm(one));
  }
}

Task<void> Core::make_warm(PoolPtr one) {
  auto box = std::make_shared<Box>();
  auto made = co_await make_one(one, box);
  if (made && *made) {
    one->pause = Millis(0);
    one->warm.push_back(box);
  } else if (!made) {
    one->pause = std::clamp(one->pause * 2, kFirstPause, kLongestPause);
    one->not_before = std::chrono::steady_clock::now() + one->pause;
    co_return std::move(made.error());
  }
  co_return ok;
}

// False: it was made, and the pool wants other ones by now.
Task<bool> Core::make_one(PoolPtr one, std::shared_ptr<Box> box) {
  const auto version = one->version;
  const auto launchers = launchers_lost;  // of a box whose parent is gone nobody would tell its end
  ++one->making;
  auto made = co_await raise_warm(one, box);
  --one->making;
  one->changed.notify();
  pools->wanted.notify();
  bool right = made && !one->removed && one->version == version && launchers_lost == launchers;
  if (!right && !box->record.id.empty()) end_warm(box->record.id, box->base);
  if (!made) co_return std::move(made.error());
  co_return right;
}

Task<void> Core::raise_warm(PoolPtr one, std::shared_ptr<Box> box) {
  const auto version = one->version;
  wire::CreateSandbox spec = spec_of(one->record);
  CO_TRY_DO(storage->check_room());
  CO_TRY(plan, plan_of(spec));
  CO_TRY(network_settled, co_await settle_network(spec.network));
  spec.network = std::move(network_settled);
  wire::SandboxRecord record = record_of(spec);
  CO_TRY(blank, co_await take_blank(plan, policy_of(record).link));
  box->record = std::move(record);
  box->record.id = blank.id;
  box->base = blank.base;
  box->plan = std::move(plan);
  CO_TRY_DO(images->hold(blank.id, *box->plan.image), "hold the image");
  CO_TRY_DO(pools->records.insert_warm({blank.id, one->record.id, blank.base}), "note");
  CO_FAULT("pool.after_warm_row");
  CO_TRY_DO(co_await start(box));
  CO_FAULT("pool.after_warm_start");
  if (one->version == version)
    CO_TRY_DO(pools->records.mark_ready(blank.id), "note that it is ready");
  CO_FAULT("pool.after_warm_ready");
  CO_TRY_DO(co_await link_of(box));  // the first command is not to wait for it
  box->record.status = wire::State::running;
  box->record.tier = kActive;
  box->settled = true;
  co_return ok;
}

// A warm box has died.
bool Core::lose_warm(const std::string& id) {
  for (const auto& [pool_id, one] : pools->all)
    for (const auto& box : one->warm)
      if (box->record.id == id) {
        log::warn("pool.lost", {{"pool", pool_id}, {"box", id}});
        drop_warm(*one, box);
        pools->wanted.notify();
        return true;
      }
  return false;
}

// ---- claims

Result<void> Core::check_claim(const WarmPool& one, wire::ClaimSandbox& wanted) {
  if (!wanted.name.empty() && names.contains(wanted.name))
    return Error{Code::conflict, str("a sandbox named ", wanted.name, " exists"), "NAME_TAKEN"};
  if (wanted.timeout_secs && *wanted.timeout_secs > options.max_timeout_secs)
    return Error{Code::invalid, str("timeout_secs: at most ", options.max_timeout_secs)};
  if (wanted.file_systems.empty()) return ok;
  TRY(plan, plan_of(spec_of(one.record)));
  TRY(checked, volumes->check(wanted.file_systems, !plan.image->usr_mask.empty()));
  wanted.file_systems = std::move(checked);
  return ok;
}

Task<wire::SandboxRecord> Core::claim(std::string id, wire::ClaimSandbox wanted) {
  auto begun = std::chrono::steady_clock::now();
  CO_TRY(one, pool_of(id));
  std::shared_ptr<Box> box;
  bool was_warm = true;
  while (!box) {
    if (one->removed) co_return unknown(id);
    CO_TRY_DO(check_claim(*one, wanted));  // each time: others claim, too
    if (boxes.size() >= static_cast<std::size_t>(options.max_sandboxes))
      co_return Error{Code::exhausted,
                      str("there are ", boxes.size(), " sandboxes, the limit of this engine"),
                      "TOO_MANY_SANDBOXES"};
    if (!one->warm.empty()) {
      box = one->warm.front();
    } else if (room_of(*one) > 0) {
      was_warm = false;
      missed_total.add();
      auto made = std::make_shared<Box>();
      CO_TRY(raised, co_await make_one(one, made));
      // It is the pool's, should it not become the caller's.
      if (raised) one->warm.push_front(made);
    } else if (one->making == 0 || !co_await one->changed.wait(kMakingLimit)) {
      // What is being made is as good as there, and there is no room for another beside it.
      CO_TRY_DO(check_claim(*one, wanted));
      co_return queue_claim(*one, wanted);
    }
  }
  CO_TRY_DO(take_warm(*one, box, wanted));
  auto claimed = co_await furnish(box, Moving(box));
  if (was_warm)
    claim_seconds.observe(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
  co_return claimed;
}

Result<wire::SandboxRecord> Core::claimed_record(const WarmPool& one, wire::SandboxRecord record,
                                                 const wire::ClaimSandbox& wanted) {
  wire::CreateSandbox spec = spec_of(one.record);
  if (wanted.timeout_secs) spec.timeout_secs = wanted.timeout_secs;
  record.timeout_secs = record_of(spec).timeout_secs;
  record.created_at = system_clock().unix_ms();
  record.file_systems = wanted.file_systems;
  record.name = wanted.name;
  if (record.name.empty()) return record;
  TRY(generation, records->next_generation(record.name));
  record.generation = generation;
  return record;
}

// Disk first: of a crash between the two it is a sandbox nobody knows of, which ends when it has
// been idle for its timeout.
Result<void> Core::take_warm(WarmPool& one, const std::shared_ptr<Box>& box,
                             const wire::ClaimSandbox& wanted) {
  TRY(record, claimed_record(one, box->record, wanted));
  TRY_DO(pools->records.claim(*records, {record, box->base, false}), "note");
  box->record = std::move(record);
  std::erase(one.warm, box);
  box->life.last_use = std::chrono::steady_clock::now();
  boxes[box->record.id] = box;
  if (!box->record.name.empty()) names[box->record.name] = box->record.id;
  pools->wanted.notify();
  FAULT("pool.after_claim");
  claimed_total.add();
  log::info("pool.claimed", {{"pool", one.record.id}, {"sandbox", box->record.id}});
  return ok;
}

// What a claim may ask for beyond what boxes of the pool have. Whoever finds it meanwhile waits
// for the turn at it. Should we die here, the next engine mounts what the record says.
Task<wire::SandboxRecord> Core::furnish(std::shared_ptr<Box> box, [[maybe_unused]] Moving moving) {
  if (!box->record.file_systems.empty()) {
    auto mounted = co_await mount_volumes(box, box->record.file_systems);
    if (box->record.status == wire::State::terminated)
      co_return Error{Code::gone, "the sandbox has just ended", "SANDBOX_TERMINATED"};
    if (mounted) mounted = fault("pool.after_volumes");
    if (!mounted) {
      CO_TRY_DO(terminate(box, "Failure", "StartupFailedInternalError", mounted.error().what));
      co_return std::move(mounted.error()).with("claim");
    }
  }
  if (!box->record.name.empty()) {
    on_change(box->record.id);
    CO_TRY_DO(co_await synced());
  }
  co_return box->record;
}

// The pool is full: the sandbox is pending until one of the others ends.
Result<wire::SandboxRecord> Core::queue_claim(WarmPool& one, const wire::ClaimSandbox& wanted) {
  auto box = std::make_shared<Box>();
  TRY(record, claimed_record(one, record_of(spec_of(one.record)), wanted));
  box->record = std::move(record);
  box->record.id = new_id();
  box->record.reason = kPoolFull;
  TRY_DO(records->insert({box->record, 0, false}), "note");
  if (!box->record.name.empty()) names[box->record.name] = box->record.id;
  FAULT("pool.after_queue");
  box->settled = true;  // nothing of it is under way: it can be deleted at once
  boxes[box->record.id] = box;
  one.waiting.push_back(box);
  return box->record;
}

Task<void> Core::start_waiting(std::shared_ptr<Box> box) {
  auto started = co_await launch_waiting(box);
  box->settled = true;
  box->changed.notify();
  if (!started && box->record.status != wire::State::terminated)
    CO_TRY_DO(terminate(box, "Failure", "StartupFailedInternalError", started.error().what));
  co_return started;
}

Task<void> Core::launch_waiting(std::shared_ptr<Box> box) {
  wire::SandboxRecord& record = box->record;
  CO_TRY(one, pool_of(record.pool_id));
  CO_TRY(plan, plan_of(spec_of(one->record)));
  CO_TRY(network_settled, co_await settle_network(record.network));
  record.network = std::move(network_settled);
  CO_TRY(base, take_range());
  box->base = base;
  box->plan = plan;
  CO_TRY_DO(records->set_base(record.id, base), "note");
  CO_TRY_DO(images->hold(record.id, *plan.image), "hold the image");
  std::function<Result<void>()> make = [this, id = record.id, plan] {
    return make_files(id, plan);
  };
  CO_TRY_DO(co_await pool.run(std::move(make)));
  CO_TRY_DO(co_await prepare({record.id, base}, plan));
  CO_TRY_DO(co_await start(box));
  wire::SandboxRecord running = record;
  running.status = wire::State::running;
  running.tier = kActive;
  running.reason.clear();
  CO_TRY_DO(records->save(running), "note that it runs");
  record = std::move(running);
  box->life.last_use = std::chrono::steady_clock::now();
  co_return ok;
}

// ---- start-up

Result<void> Core::recover_pools(const std::map<std::string, wire::BoxNote>& notes,
                                 std::set<std::string>& known_ids) {
  TRY(found, pools->records.all());
  for (wire::Pool& record : found) {
    auto one = std::make_shared<WarmPool>();
    one->record = std::move(record);
    pools->all[one->record.id] = one;
  }
  TRY(rows, pools->records.warm());
  for (const auto& row : rows) {
    known_ids.insert(row.id);
    ranges_taken.insert(row.base);
    auto of = pools->all.find(row.pool);
    auto note = notes.find(row.id);
    bool runs = row.ready && note != notes.end() && note->second.stage == wire::BoxStage::running;
    auto held = images->held(row.id);  // by its name it may be another by now, or none
    // Nobody is to get one of the machine as it was before an upgrade.
    bool stale = image_changed && (!held || !held->host_generation.empty());
    if (of == pools->all.end() || !runs || stale) {
      end_warm(row.id, row.base);
      continue;
    }
    auto box = std::make_shared<Box>();
    wire::CreateSandbox spec = spec_of(of->second->record);
    BoxPlan plan{.image = held ? held : image};
    box->record = record_of(spec);
    box->record.id = row.id;
    box->record.status = wire::State::running;
    box->record.tier = kActive;
    box->record.host_generation = plan.image->host_generation;
    box->plan = std::move(plan);
    box->base = row.base;
    box->pid = static_cast<pid_t>(note->second.pid);
    box->settled = true;
    of->second->warm.push_back(box);
  }
  return ok;
}

void Core::end_pools() {
  for (const auto& [id, one] : pools->all)
    while (!one->warm.empty()) drop_warm(*one, one->warm.back());
}

// Found pending, and no creation was under way.
bool Core::wait_again(const std::shared_ptr<Box>& box) {
  auto of = pools->all.find(box->record.pool_id);
  if (box->base != 0 || box->record.reason != kPoolFull || of == pools->all.end()) return false;
  of->second->waiting.push_back(box);
  return true;
}

}  // namespace glovebox::engine

// Items come and go: made for sessions that have something to do, stopped, and what time does to
// them. Claims and leases are in work_lease.cc.
#include "brain/work.h"

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "brain/ids.h"

namespace glovebox::brain {
namespace {

metrics::Counter g_items("brain_work_items_total", "Work items made.");
metrics::Counter g_lapses("brain_work_leases_lapsed_total",
                          "Work items whose worker was not heard of any more.");

constexpr Micros kSecond = 1'000'000;
constexpr std::int64_t kMaxLapses = 10;  // an item that kills its workers ends
constexpr int kBatch = 100;
constexpr Micros kReapEvery = 10 * kSecond;  // it looks at every item that is held
constexpr Micros kWorkerSeen = 30 * kSecond;

}  // namespace

Queue::Queue(net::Loop& loop, Store& store, Options options)
    : loop_(loop), store_(store), options_(std::move(options)) {}

Queue::~Queue() { *alive_ = false; }

Result<void> Queue::ensure_item(std::string_view session, std::string_view environment) {
  TRY(live, store_.live_work(session));
  if (!live.empty()) return ok;
  WorkRow row{.id = new_id("work"),
              .environment_id = std::string(environment),
              .session_id = std::string(session),
              .created_at = options_.now(),
              .ttl_secs = options_.ttl_secs};
  TRY_DO(store_.add_work(row));
  g_items.add();
  log::info("work.queued", {{"work", row.id}, {"session", session}});
  FAULT("brain.after_item");
  ring(row.environment_id);
  return ok;
}

Result<void> Queue::stop_items(std::string_view session) {
  TRY(live, store_.live_work(session));
  for (const WorkRow& row : live) TRY_DO(stop(row.id, false, Caller{}));
  return ok;
}

Result<WorkRow> Queue::stop(std::string_view id, bool force, const Caller& caller) {
  TRY(row, store_.work(id));
  if (row.state == WorkState::stopped)
    return Error{Code::conflict, str("work item ", id, " is stopped already")};
  if (caller.delivery && *caller.delivery != row.delivery)
    return Error{Code::forbidden, "this token is of an earlier delivery of the item"};
  // Nobody holds a queued one: nobody would ever hear of a graceful stop.
  if (force || row.state == WorkState::queued) return finish(std::move(row));
  if (row.state == WorkState::stopping) return row;
  row.state = WorkState::stopping;
  row.stop_requested_at = options_.now();
  row.due_at = row.stop_requested_at + row.ttl_secs * kSecond;
  TRY_DO(store_.save_work(row));
  log::info("work.stopping", {{"work", row.id}, {"session", row.session_id}});
  FAULT("brain.after_stop");
  return row;
}

Result<WorkRow> Queue::finish(WorkRow row) {
  const Micros now = options_.now();
  row.state = WorkState::stopped;
  row.stopped_at = now;
  if (!row.stop_requested_at) row.stop_requested_at = now;
  row.due_at = 0;
  ++row.delivery;  // no longer the old token's
  TRY_DO(store_.atomically([&]() -> Result<void> {
    TRY_DO(store_.save_work(row));
    // A worker that is still at it shall learn by its next beat why it must end.
    return store_.expire_tokens(row.id, now + row.ttl_secs * kSecond);
  }));
  log::info("work.stopped", {{"work", row.id}, {"session", row.session_id}});
  FAULT("brain.after_stop");
  tell_stopped(row.session_id);
  return row;
}

// Later, from the loop: whoever stopped it may be in the middle of a transaction.
void Queue::tell_stopped(std::string session) {
  loop_.post([this, alive = alive_, session = std::move(session)] {
    if (*alive && on_stopped) on_stopped(session);
  });
}

// The same item, as if nobody had ever had it; the old worker's token is good for nothing but
// learning that.
Result<void> Queue::lapse(WorkRow row) {
  g_lapses.add();
  log::warn("work.lapsed", {{"work", row.id}, {"session", row.session_id}, {"state", row.state}});
  if (++row.lapses >= kMaxLapses) {
    TRY_DO(finish(std::move(row)));
    return ok;
  }
  row.state = WorkState::queued;
  row.acknowledged_at = row.started_at = 0;
  row.latest_heartbeat_at = row.previous_heartbeat_at = 0;
  row.beat_by.clear();
  row.claimed_at = 0;
  row.claimed_by.clear();
  row.due_at = 0;
  TRY_DO(store_.atomically([&]() -> Result<void> {
    TRY_DO(store_.save_work(row));
    return store_.expire_tokens(row.id, options_.now() + row.ttl_secs * kSecond);
  }));
  ring(row.environment_id);
  return ok;
}

Result<void> Queue::tick() {
  const Micros now = options_.now();
  for (;;) {
    TRY(due, store_.due_work(now, kBatch));
    for (WorkRow& row : due) {
      if (row.state == WorkState::stopping)
        TRY_DO(finish(std::move(row)));
      else
        TRY_DO(lapse(std::move(row)));
    }
    if (due.size() < kBatch) break;
  }
  if (options_.reap_idle_secs && now - reaped_at_ >= kReapEvery) {
    reaped_at_ = now;
    TRY(idle, store_.idle_held_sessions(now - options_.reap_idle_secs * kSecond));
    for (const auto& session : idle) TRY_DO(stop_items(session));
  }
  for (auto& [environment, seen] : workers_)
    std::erase_if(seen, [&](const auto& worker) { return worker.second < now - kWorkerSeen; });
  std::erase_if(workers_, [](const auto& entry) { return entry.second.empty(); });
  std::erase_if(bells_, [](const auto& entry) { return entry.second.expired(); });
  return store_.sweep_tokens(now);
}

std::optional<std::int64_t> Queue::workers_polling(std::string_view environment) {
  auto found = workers_.find(environment);
  if (found == workers_.end()) return std::nullopt;
  const Micros since = options_.now() - kWorkerSeen;
  auto count = std::ranges::count_if(found->second, [&](auto& w) { return w.second >= since; });
  if (!count) return std::nullopt;
  return count;
}

}  // namespace glovebox::brain

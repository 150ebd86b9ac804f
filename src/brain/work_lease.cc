// A worker's side: poll, ack, heartbeat.
#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "brain/ids.h"
#include "brain/work.h"
#include "net/deadline.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

metrics::Counter g_claims("brain_work_claims_total", "Work items handed out.");
metrics::Counter g_lost("brain_work_heartbeats_refused_total",
                        "Heartbeats of workers that do not hold the lease.");

constexpr Micros kSecond = 1'000'000;
constexpr Micros kFirstBeat = 60 * kSecond;   // from ack
constexpr Micros kLostAnswer = 10 * kSecond;  // how long the value before the latest is good
constexpr std::size_t kMaxWorkers = 1000;     // remembered for one environment
constexpr std::int64_t kMinTtl = 10, kMaxTtl = 600;

}  // namespace

Result<std::optional<Queue::Delivery>> Queue::claim(const Poll& poll) {
  const Micros now = options_.now();
  const Micros reclaim = std::chrono::microseconds(poll.reclaim).count();
  std::optional<Delivery> delivery;
  TRY_DO(store_.atomically([&]() -> Result<void> {
    TRY(found, store_.claimable(poll.environment, now - reclaim));
    if (!found) return ok;
    WorkRow row = std::move(*found);
    row.claimed_at = now;
    row.claimed_by = poll.worker;
    ++row.delivery;
    std::string token = new_secret("gb-ses");
    TRY_DO(store_.save_work(row));
    // Whoever had it before and never said so: a late word of theirs is heard for a while.
    TRY_DO(store_.expire_tokens(row.id, now + row.ttl_secs * kSecond));
    TRY_DO(store_.add_token({.hash = hash_of(token),
                             .work_id = row.id,
                             .environment_id = row.environment_id,
                             .session_id = row.session_id,
                             .delivery = row.delivery}));
    delivery = Delivery{std::move(row), Secret(std::move(token))};
    return ok;
  }));
  if (!delivery) return std::nullopt;
  g_claims.add();
  log::info("work.claimed", {{"work", delivery->work.id},
                             {"session", delivery->work.session_id},
                             {"delivery", delivery->work.delivery},
                             {"worker", poll.worker}});
  FAULT("brain.after_claim");
  return delivery;
}

Task<std::optional<Queue::Delivery>> Queue::poll(Poll poll) {
  note_worker(poll.environment, poll.worker);
  net::Deadline deadline(poll.block);
  auto bell = bell_of(poll.environment);
  for (;;) {
    CO_TRY(delivery, claim(poll));
    if (delivery || deadline.left() == 0ms) co_return std::move(delivery);
    // A claim that runs out meanwhile rings no bell.
    Millis wait = deadline.left();
    CO_TRY(next, store_.next_claimable(poll.environment,
                                       std::chrono::microseconds(poll.reclaim).count()));
    if (next) wait = std::clamp(Millis((next - options_.now()) / 1000 + 1), 1ms, wait);
    auto rung = co_await bell->wait(wait);
    if (!rung && rung.error().code != Code::timeout) co_return std::move(rung.error());
  }
}

Result<WorkRow> Queue::ack(std::string_view id, const Caller& caller, std::string_view worker) {
  TRY(row, store_.work(id));
  if (row.state == WorkState::stopped)
    return Error{Code::conflict, str("work item ", id, " is stopped")};
  if (caller.delivery && *caller.delivery != row.delivery)
    return Error{Code::conflict, "the item was handed out to another worker meanwhile"};
  if (!worker.empty() && !row.claimed_by.empty() && worker != row.claimed_by)
    return Error{Code::conflict, "the item was handed out to another worker"};
  if (row.state == WorkState::queued && !row.claimed_at)
    return Error{Code::conflict, str("work item ", id, " was not handed out by a poll")};
  if (row.latest_heartbeat_at)
    return Error{Code::conflict, str("work item ", id, " is ", row.state)};
  // The answer to the first ack may have been lost: good for one who can say that it was his.
  const bool his = caller.delivery || caller.repeats || !worker.empty();
  if (row.state != WorkState::queued && his) return row;
  if (row.state != WorkState::queued)
    return Error{Code::conflict, str("work item ", id, " is acknowledged already")};
  row.state = WorkState::starting;
  row.acknowledged_at = options_.now();
  row.due_at = row.acknowledged_at + std::min(kFirstBeat, row.ttl_secs * kSecond);
  TRY_DO(store_.save_work(row));
  log::info("work.starting", {{"work", row.id}, {"session", row.session_id}});
  FAULT("brain.after_ack");
  return row;
}

Result<Queue::Beat> Queue::heartbeat(std::string_view id, std::optional<std::string> expected,
                                     std::optional<std::int64_t> desired_ttl_secs,
                                     const Caller& caller) {
  TRY(row, store_.work(id));
  const Micros now = options_.now();
  if (row.state == WorkState::stopping || row.state == WorkState::stopped)
    return Beat{.work = std::move(row)};

  const bool same = !caller.by.empty() && caller.by == row.beat_by &&
                    now - row.latest_heartbeat_at <= kLostAnswer;
  bool accepted = false, repeated = false;
  if (row.state == WorkState::queued || (caller.delivery && *caller.delivery != row.delivery)) {
    // Not acknowledged, or lapsed, or somebody else's by now: whatever it shows.
  } else if (!expected) {
    accepted = true;
  } else if (*expected == "NO_HEARTBEAT") {
    accepted = !row.latest_heartbeat_at;
    // Only where the client itself says that this is its second attempt; and a token, because a key
    // may belong to many workers.
    repeated = !accepted && !row.previous_heartbeat_at && same && caller.delivery && caller.repeats;
  } else if (row.latest_heartbeat_at) {
    accepted = *expected == rfc3339(row.latest_heartbeat_at);
    repeated = row.previous_heartbeat_at && same && *expected == rfc3339(row.previous_heartbeat_at);
  }
  if (repeated && !accepted) return Beat{.work = std::move(row), .extended = true};
  if (!accepted) {
    g_lost.add();
    log::warn("work.beat_refused", {{"work", row.id}, {"state", row.state}});
    return Beat{.refused = true, .work = std::move(row)};
  }

  if (desired_ttl_secs) row.ttl_secs = std::clamp(*desired_ttl_secs, kMinTtl, kMaxTtl);
  row.previous_heartbeat_at = row.latest_heartbeat_at;
  row.latest_heartbeat_at = std::max(now, row.latest_heartbeat_at + 1);
  row.beat_by = caller.by;
  row.due_at = row.latest_heartbeat_at + row.ttl_secs * kSecond;
  if (row.state == WorkState::starting) {
    row.state = WorkState::active;
    row.started_at = now;
    log::info("work.active", {{"work", row.id}, {"session", row.session_id}});
  }
  TRY_DO(store_.save_work(row));
  FAULT("brain.after_heartbeat");
  return Beat{.work = std::move(row), .extended = true};
}

std::shared_ptr<net::Event> Queue::bell_of(const std::string& environment) {
  auto& bell = bells_[environment];
  auto held = bell.lock();
  if (!held) bell = held = std::make_shared<net::Event>();
  return held;
}

void Queue::ring(const std::string& environment) {
  if (auto found = bells_.find(environment); found != bells_.end())
    if (auto bell = found->second.lock()) bell->notify();
}

void Queue::note_worker(const std::string& environment, const std::string& worker) {
  if (worker.empty()) return;
  auto& seen = workers_[environment];
  if (seen.size() < kMaxWorkers || seen.contains(worker)) seen[worker] = options_.now();
}

}  // namespace glovebox::brain

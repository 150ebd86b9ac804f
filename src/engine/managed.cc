// What is asked of managed processes, and their record on disk. How they are kept running:
// managed_run.cc.
#include "engine/managed.h"

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/core.h"
#include "engine/managed_kept.h"
#include "net/task.h"

namespace glovebox::engine {

namespace {

constexpr std::size_t kMaxOfSandbox = 64;
constexpr Millis kStopLimit = 30s;
constexpr Millis kStartLimit = 60s;

}  // namespace

ManagedProcesses::ManagedProcesses(Core& core) : core_(core) {}
ManagedProcesses::~ManagedProcesses() = default;

// ---- on disk

Result<void> ManagedProcesses::open() {
  struct Found {
    KeptPtr kept;
    bool stopped;
  };
  std::vector<Found> found;
  std::vector<Key> stale;
  {
    TRY(rows, core_.records->database().prepare(
                  "SELECT sandbox, id, request, handle, attempt_ms, restarts, used, stopped FROM "
                  "managed"));
    for (;;) {
      TRY(there, rows.step());
      if (!there) break;
      auto start = wire::decode_process_start(rows.text(2));
      if (!core_.boxes.contains(rows.text(0)) || !start || !start->managed) {
        stale.emplace_back(rows.text(0), rows.text(1));
        continue;
      }
      auto kept = std::make_shared<Kept>();
      kept->sandbox = rows.text(0);
      kept->managed.id = rows.text(1);
      kept->request = rows.text(2);
      kept->spec = std::move(start->spec);
      kept->managed.spec = std::move(*start->managed);
      kept->info.handle = static_cast<std::uint64_t>(rows.integer(3));
      kept->info.argv = kept->spec.argv;
      kept->attempt_ms = rows.integer(4);
      kept->managed.restart_count = rows.integer(5);
      kept->restarts_used = rows.integer(6);
      found.push_back({std::move(kept), rows.integer(7) != 0});
    }
  }
  for (const auto& [sandbox, id] : stale) erase(sandbox, id);
  for (const auto& [kept, stopped] : found) {
    kept_[{kept->sandbox, kept->managed.id}] = kept;
    kept->managed.status = stopped ? wire::ManagedStatus::stopped : wire::ManagedStatus::starting;
    // A stopped one's process has ended, if there is one still on record.
    if (stopped) kept->info.status = wire::Status::signaled;
    if (stopped) continue;
    if (core_.boxes.at(kept->sandbox)->record.rollback_to.empty()) {
      core_.work.spawn("managed " + kept->managed.id, regain(kept));
    } else {  // whatever runs of it ends with the rollback that is under way
      kept->info.handle = 0;
      kept->managed.status = wire::ManagedStatus::running;
      supervise(kept);
    }
  }
  if (!found.empty()) log::info("managed.recovered", {{"count", found.size()}});
  return ok;
}

Result<void> ManagedProcesses::insert(const Kept& kept) {
  TRY(statement, core_.records->database().prepare(
                     "INSERT OR REPLACE INTO managed(sandbox, id, request, handle, attempt_ms, "
                     "restarts, used, stopped) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(kept.sandbox, kept.managed.id, kept.request, kept.launching ? 0 : kept.info.handle,
                 kept.attempt_ms, kept.managed.restart_count, kept.restarts_used,
                 kept.managed.status == wire::ManagedStatus::stopped);
  return statement.run();
}

Result<void> ManagedProcesses::save(const Kept& kept) {
  if (kept.forgotten) return ok;
  TRY_DO(insert(kept), "note managed process ", kept.managed.id);
  return ok;
}

void ManagedProcesses::erase(const std::string& sandbox, const std::string& id) {
  auto statement =
      core_.records->database().prepare("DELETE FROM managed WHERE sandbox = ? AND id = ?");
  if (statement) (void)statement->bind(sandbox, id).run();  // a row too many ends at the next start
}

// ---- what is asked

ManagedProcesses::KeptPtr ManagedProcesses::get(const std::string& sandbox,
                                                const std::string& id) const {
  auto found = kept_.find({sandbox, id});
  return found == kept_.end() ? nullptr : found->second;
}

std::optional<ManagedProcesses::Entry> ManagedProcesses::find(const std::string& sandbox,
                                                              const std::string& id) const {
  auto kept = get(sandbox, id);
  if (!kept) return std::nullopt;
  return Entry(kept->info, kept->managed);
}

std::optional<ManagedProcesses::Entry> ManagedProcesses::find(const std::string& sandbox,
                                                              std::uint64_t handle) const {
  for (auto at = kept_.lower_bound({sandbox, ""}); at != kept_.end() && at->first.first == sandbox;
       ++at)
    if (at->second->info.handle == handle) return Entry(at->second->info, at->second->managed);
  return std::nullopt;
}

std::vector<ManagedProcesses::Entry> ManagedProcesses::list(const std::string& sandbox) const {
  std::vector<Entry> entries;
  for (auto at = kept_.lower_bound({sandbox, ""}); at != kept_.end() && at->first.first == sandbox;
       ++at)
    entries.emplace_back(at->second->info, at->second->managed);
  return entries;
}

Task<ManagedProcesses::Entry> ManagedProcesses::start(std::string sandbox, std::string request) {
  CO_TRY(start, wire::decode_process_start(request));
  auto kept = std::make_shared<Kept>();
  kept->sandbox = sandbox;
  kept->request = std::move(request);
  kept->spec = std::move(start.spec);
  kept->managed.spec = std::move(start.managed).value_or(wire::ManagedSpec{});
  const std::string& name = kept->managed.spec.name;
  kept->managed.id = name.empty() ? "managed-" + random_id(10) : name;
  auto before = get(sandbox, kept->managed.id);
  if (before && before->managed.status != wire::ManagedStatus::stopped)
    co_return Error{Code::conflict,
                    str("a managed process named ", name, " is there already; stop it first"),
                    "NAME_TAKEN"};
  if (!before && list(sandbox).size() >= kMaxOfSandbox)
    co_return Error{Code::exhausted, str("at most ", kMaxOfSandbox, " managed processes"),
                    "TOO_MANY_PROCESSES"};
  if (before) before->forgotten = true;
  kept_[{sandbox, kept->managed.id}] = kept;
  auto started = co_await launch(kept);
  if (!started) {
    // A program that cannot even be started once is the caller's mistake, and not kept.
    if (get(sandbox, kept->managed.id) == kept) {
      kept_.erase({sandbox, kept->managed.id});
      erase(sandbox, kept->managed.id);
    }
    kept->forgotten = true;
    co_return std::move(started.error());
  }
  supervise(kept);
  co_return Entry(kept->info, kept->managed);
}

Task<ManagedProcesses::Entry> ManagedProcesses::restart(std::string sandbox, std::string id) {
  auto kept = get(sandbox, id);
  if (!kept) co_return Error{Code::not_found, "no such managed process"};
  const std::uint64_t before = kept->attempts;
  kept->wants_stop = false;
  kept->wants_restart = true;
  kept->restarts_used = 0;
  kept->short_lives = 0;
  kept->changed.notify();
  if (!kept->supervised) {
    supervise(kept);
  } else if (kept->managed.status == wire::ManagedStatus::running) {
    CO_TRY(hand, co_await link(sandbox));
    (void)co_await hand->signal(kept->info.handle, 9, true);  // it may have ended by itself
  }
  const auto deadline = std::chrono::steady_clock::now() + kStartLimit;
  while (kept->attempts == before && !kept->forgotten) {
    if (std::chrono::steady_clock::now() > deadline)
      co_return Error{Code::internal, "the process was not started again in time"};
    CO_TRY_DO(co_await told(kept->changed));
  }
  if (kept->forgotten) co_return Error{Code::gone, "the sandbox has ended"};
  if (kept->start_failed) co_return *kept->start_failed;
  co_return Entry(kept->info, kept->managed);
}

Task<void> ManagedProcesses::stop(std::string sandbox, std::string id) {
  auto kept = get(sandbox, id);
  if (!kept) co_return Error{Code::not_found, "no such managed process"};
  kept->wants_stop = true;
  kept->wants_restart = false;
  kept->changed.notify();
  const auto deadline = std::chrono::steady_clock::now() + kStopLimit;
  while (kept->managed.status != wire::ManagedStatus::stopped && !kept->forgotten &&
         kept->wants_stop) {
    if (std::chrono::steady_clock::now() > deadline)
      co_return Error{Code::internal, "the process does not end"};
    if (kept->managed.status == wire::ManagedStatus::running) {
      CO_TRY(hand, co_await link(sandbox));
      (void)co_await hand->signal(kept->info.handle, 9, true);
    }
    if (kept->managed.status == wire::ManagedStatus::stopped) break;
    CO_TRY_DO(co_await told(kept->changed));
  }
  co_return ok;
}

void ManagedProcesses::box_restarted(const std::string& sandbox) {
  links_.erase(sandbox);
  for (auto at = kept_.lower_bound({sandbox, ""}); at != kept_.end() && at->first.first == sandbox;
       ++at) {
    Kept& kept = *at->second;
    kept.info.handle = 0;  // numbers count from 1 again: the old ones mean others now
    kept.previous = 0;
    (void)save(kept);
    kept.changed.notify();
  }
}

void ManagedProcesses::forget(const std::string& sandbox) {
  links_.erase(sandbox);
  for (auto at = kept_.lower_bound({sandbox, ""});
       at != kept_.end() && at->first.first == sandbox;) {
    at->second->forgotten = true;
    at->second->changed.notify();
    erase(sandbox, at->first.second);
    at = kept_.erase(at);
  }
}

}  // namespace glovebox::engine

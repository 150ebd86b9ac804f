// Taking and deleting snapshots, and what a crash left of either.
//
//   taking    row `in_progress`, files, manifest, row `completed`
//   deleting  row `deleted` (nobody finds it any more), files, manifest, no row
//
// Start-up goes back on the first and on with the second.

#include "engine/snapshot.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/finish.h"
#include "engine/port_rules.h"
#include "net/deadline.h"

namespace glovebox::engine {

static metrics::Counter taken_total("engine_snapshots_total", "Snapshots taken.");
static metrics::Histogram take_seconds("engine_snapshot_seconds",
                                       "From the request to a completed snapshot.");
static metrics::Histogram stopped_seconds("engine_snapshot_stopped_seconds",
                                          "How long a snapshot kept the processes stopped.");

namespace {

constexpr Millis kFreezeLimit = 10s;
constexpr Millis kTurnLimit = 60s;  // for the verb that is at the box to be over

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begun) {
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

}  // namespace

// The box to ourselves: from here on nobody else changes how awake it is.
Task<Moving> Core::turn_at(std::shared_ptr<Box> box) {
  net::Deadline deadline(kTurnLimit);
  while (!box->settled || box->life.moving) {
    if (deadline.left() <= 0ms)
      co_return Error{Code::timeout, str("sandbox ", box->record.id, " is busy")};
    CO_TRY_DO(co_await told(box->changed, std::min(Millis(1000), deadline.left())));
  }
  co_return Moving(box);
}

// One that sleeps is left asleep: its files are all there is to keep, and nobody changes them.
Task<wire::SnapshotRecord> Core::snapshot(std::string id_or_name, wire::TakeSnapshot wanted) {
  if (wanted.type != "filesystem")
    co_return Error{Code::unsupported,
                    str("snapshot_type ", wanted.type,
                        ": memory needs the isolation gvisor or microvm; filesystem works"),
                    "NOT_IMPLEMENTED"};
  CO_TRY(box, known(id_or_name));
  CO_TRY_DO(storage->check_room());
  CO_TRY(moving, co_await turn_at(box));
  const bool sleeps = box->record.status == wire::State::suspended;
  if (box->record.status != wire::State::running && !(sleeps && wanted.suspended))
    co_return Error{
        Code::invalid,
        str("sandbox ", box->record.id, " is ", box->record.status, ": it cannot be snapshotted",
            sleeps ? "; resume it, or ask for it with \"suspended\": true" : ""),
        box->record.status == wire::State::terminated ? "SANDBOX_TERMINATED" : "WRONG_STATE"};
  CO_TRY(record, co_await take(box, false));
  wire::SandboxRecord sandbox = box->record;
  sandbox.snapshot_id = record.id;
  if (sandbox.status != wire::State::terminated) {
    CO_TRY_DO(records->save(sandbox), "note");
    box->record = std::move(sandbox);
  }
  CO_TRY_DO(co_await synced());
  co_return record;
}

// A snapshot of a box that this verb has to itself. What was stopped before stays stopped.
Task<wire::SnapshotRecord> Core::take(std::shared_ptr<Box> box, bool temporary) {
  auto begun = Clock::now();
  wire::SnapshotRecord record;
  record.id = new_id();
  record.temporary = temporary;
  record.parent = box->record.snapshot_id;
  record.image_generation = box->plan.image->generation;
  record.created_at = system_clock().unix_ms();
  record.source = box->record;
  // The secrets of verified ports stay with this sandbox. A copy that had the ports without them
  // would be open to everybody.
  CO_TRY(rules, PortRules(records->database()).of(box->record.id));
  for (const wire::IngressPort& rule : rules) std::erase(record.source.exposed_ports, rule.port);
  CO_TRY_DO(images->hold("snapshot:" + record.id, *box->plan.image), "hold the image");
  CO_TRY_DO(snapshots->records.insert(record), "note");
  auto sealed = fault("snapshot.after_row");
  if (sealed) sealed = co_await seal(box, record.id);
  if (sealed) sealed = fault("snapshot.after_seal");
  if (sealed) {
    auto finished = std::make_shared<wire::SnapshotRecord>(record);
    std::function<Result<void>()> finish = [this, finished]() -> Result<void> {
      // Sealing has written down everything, so now it is counted.
      if (auto used = storage->used_by_upper(finished->source.id))
        finished->size_bytes = static_cast<std::int64_t>(*used);
      finished->status = "completed";
      return storage->write_manifest(finished->id, seal_manifest(*finished, snapshots->key));
    };
    sealed = co_await pool.run(std::move(finish));
    if (sealed) record = std::move(*finished);
  }
  if (sealed) sealed = fault("snapshot.after_manifest");
  if (sealed) sealed = snapshots->records.save(record);
  if (!sealed) {
    CO_TRY_DO(co_await fail_snapshot(record, sealed.error().what));
    co_return std::move(sealed.error()).with(str("snapshot of ", box->record.id));
  }
  CO_FAULT("snapshot.after_completed");
  taken_total.add();
  take_seconds.observe(since(begun));
  log::info("snapshot.taken", {{"snapshot", record.id}, {"sandbox", box->record.id}});
  co_return record;
}

// The processes stand still only while the copy is made, whatever there is to write: most of that
// goes to disk before.
Task<void> Core::seal(std::shared_ptr<Box> box, std::string snapshot) {
  std::function<Result<void>()> flush = [this] { return storage->commit(); };
  CO_TRY_DO(co_await pool.run(std::move(flush)), "write down what is there");
  const bool runs = box->record.status == wire::State::running && !box->life.frozen;
  auto stopped = Clock::now();
  Result<void> done = ok;
  if (runs) {
    box->record.status = wire::State::snapshotting;
    done = co_await freeze(box, kFreezeLimit);
  }
  if (done) done = fault("snapshot.after_freeze");
  if (done && box->record.status == wire::State::terminated)
    done = Error{Code::gone, str("sandbox ", box->record.id, " was deleted"), "SANDBOX_TERMINATED"};
  if (done) {
    std::function<Result<void>()> copy = [this, id = box->record.id, snapshot] {
      return storage->seal_upper(id, snapshot);
    };
    done = co_await pool.run(std::move(copy));
  }
  if (runs && box->record.status != wire::State::terminated) {
    box->record.status = wire::State::running;
    auto thawed = co_await thaw(box);
    stopped_seconds.observe(since(stopped));
    if (!thawed) log::error("snapshot.thaw", {{"error", thawed.error().what}});
    if (done && !thawed) done = thawed;
  }
  co_return done;
}

Task<void> Core::remove_snapshot_files(std::string id) {
  std::function<Result<void>()> remove = [this, id] { return storage->remove_snapshot(id); };
  co_return co_await pool.run(std::move(remove));
}

Task<void> Core::fail_snapshot(wire::SnapshotRecord record, std::string why) {
  CO_TRY_DO(co_await remove_snapshot_files(record.id));
  CO_TRY_DO(images->release("snapshot:" + record.id));
  record.status = "failed";
  record.error = std::move(why);
  record.size_bytes = 0;
  co_return snapshots->records.save(record);
}

Task<void> Core::delete_snapshot(std::string id) {
  CO_TRY(record, snapshots->records.find(id));
  if (record.status == "in_progress")
    co_return Error{Code::conflict, str("snapshot ", id, " is being taken"), "SNAPSHOT_NOT_READY"};
  if (exporting.contains(id))
    co_return Error{Code::conflict, str("snapshot ", id, " is being exported; try again then"),
                    "SNAPSHOT_IN_USE"};
  for (const auto& [box_id, box] : boxes)
    if (box->record.rollback_to == id)
      co_return Error{Code::conflict, str("sandbox ", box_id, " is being rolled back to it"),
                      "SNAPSHOT_IN_USE"};
  CO_TRY_DO(disown(record), "note");
  CO_FAULT("unsnapshot.after_row");
  co_return co_await finish_deleting(id);
}

// What descends from it descends from its parent from here on: whole or not at all, so that no
// record names a snapshot that is not there.
Result<void> Core::disown(const wire::SnapshotRecord& gone) {
  std::vector<std::shared_ptr<Box>> heirs;
  TRY(whole, records->database().begin());
  TRY_DO(snapshots->records.mark_deleted(gone));
  for (const auto& [id, box] : boxes) {
    if (box->record.snapshot_id != gone.id) continue;
    wire::SandboxRecord record = box->record;
    record.snapshot_id = gone.parent;
    TRY_DO(records->save(record));
    heirs.push_back(box);
  }
  TRY_DO(whole.commit());
  for (const auto& box : heirs) box->record.snapshot_id = gone.parent;
  return ok;
}

Task<void> Core::finish_deleting(std::string id) {
  CO_TRY_DO(co_await remove_snapshot_files(id), "files of snapshot ", id);
  CO_FAULT("unsnapshot.after_files");
  CO_TRY_DO(images->release("snapshot:" + id));
  co_return snapshots->records.forget(id);
}

// Start-up. A snapshot that was being taken is none: nobody was told of it. Files without a row
// were to be deleted.
Task<void> Core::recover_snapshots() {
  CO_TRY(list, snapshots->records.list());
  std::set<std::string> kept;
  for (const wire::SnapshotRecord& record : list) {
    if (record.temporary) {  // on the way to copies that nobody was told of
      CO_TRY_DO(disown(record));
    } else if (record.status == "completed") {
      kept.insert(record.id);
    }
    if (record.status != "in_progress") continue;
    if (!record.temporary)
      CO_TRY_DO(co_await fail_snapshot(record, "the engine restarted while it was being taken"));
    // Its processes may stand still for it.
    if (auto box = find(record.source.id); box && box->record.status == wire::State::running)
      work.spawn("thaw " + record.source.id, thaw(box));
  }
  CO_TRY(deleted, snapshots->records.deleted());
  for (const std::string& id : deleted) CO_TRY_DO(co_await finish_deleting(id));
  auto strays = std::make_shared<std::vector<std::string>>();
  std::function<Result<void>()> look = [this, strays]() -> Result<void> {
    TRY(there, storage->snapshots());
    *strays = std::move(there);
    return ok;
  };
  CO_TRY_DO(co_await pool.run(std::move(look)));
  for (const std::string& id : *strays)
    if (!kept.contains(id)) CO_TRY_DO(co_await remove_snapshot_files(id));
  constexpr std::string_view kHolder = "snapshot:";
  CO_TRY(holders, images->records().users());
  for (const std::string& user : holders)
    if (user.starts_with(kHolder) && !kept.contains(user.substr(kHolder.size())))
      CO_TRY_DO(images->release(user));
  co_return ok;
}

}  // namespace glovebox::engine

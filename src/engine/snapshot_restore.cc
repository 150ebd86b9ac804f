// What is made of snapshots: new sandboxes, copies of one, and a sandbox put back to where it was.

#include <algorithm>
#include <ranges>

#include "base/fault.h"
#include "base/log.h"
#include "engine/finish.h"
#include "engine/snapshot.h"

namespace glovebox::engine {

namespace {

constexpr int kMaxCopies = 128;

}  // namespace

// What a box of this snapshot is made of, and how its sandbox was set up. The files are ours or
// none: the manifest says so.
Result<wire::SnapshotRecord> Core::usable_snapshot(const std::string& id) const {
  TRY(record, snapshots->records.find(id));
  if (record.status == "in_progress")
    return Error{Code::conflict, str("snapshot ", id, " is being taken"), "SNAPSHOT_NOT_READY"};
  if (record.status != "completed")
    return Error{Code::conflict, str("snapshot ", id, " failed: ", record.error),
                 "SNAPSHOT_FAILED"};
  TRY(manifest, storage->read_manifest(id), "snapshot ", id);
  TRY(sealed, open_manifest(manifest, snapshots->key), "snapshot ", id);
  if (sealed.id != id)
    return Error{Code::forbidden, str("the manifest of snapshot ", id, " is another's"),
                 "SNAPSHOT_INVALID"};
  return record;
}

// What the request leaves open the snapshot says.
Result<void> Core::inherit(wire::CreateSandbox& spec) const {
  if (spec.snapshot_id.empty()) return ok;
  TRY(snapshot, usable_snapshot(spec.snapshot_id));
  const wire::SandboxRecord& source = snapshot.source;
  auto under = images->held("snapshot:" + snapshot.id);
  TRY(asked, spec.image.empty() ? under : images->resolve(spec.image));
  if ((asked ? asked : image)->generation != (under ? under : image)->generation)
    return Error{Code::invalid, str("image: the files of snapshot ", snapshot.id, " lie above ",
                                    source.image.empty() ? "the default image" : source.image,
                                    " and no other; leave it out")};
  spec.image = source.image;
  // Clients always send a size of the disk, filled with the default: it may only grow.
  spec.resources.disk_mb = std::max(spec.resources.disk_mb, source.resources.disk_mb);
  if (spec.entrypoint.empty()) spec.entrypoint = source.entrypoint;
  if (!spec.network) spec.network = source.network;
  return ok;
}

Task<std::vector<wire::SandboxRecord>> Core::copy(std::string id_or_name, int times) {
  if (times < 1 || times > kMaxCopies)
    co_return Error{Code::invalid, str("times: must be from 1 to ", kMaxCopies)};
  CO_TRY(box, known(id_or_name));
  CO_TRY_DO(storage->check_room());
  wire::SnapshotRecord snapshot;
  {
    CO_TRY(moving, co_await turn_at(box));
    if (box->record.status != wire::State::running && box->record.status != wire::State::suspended)
      co_return Error{
          Code::invalid,
          str("sandbox ", box->record.id, " is ", box->record.status, ": it cannot be copied"),
          box->record.status == wire::State::terminated ? "SANDBOX_TERMINATED" : "WRONG_STATE"};
    CO_TRY(taken, co_await take(box, true));
    snapshot = std::move(taken);
  }
  wire::CreateSandbox spec;
  spec.snapshot_id = snapshot.id;
  spec.resources = snapshot.source.resources;
  spec.timeout_secs = snapshot.source.timeout_secs;
  spec.file_systems = snapshot.source.file_systems;
  spec.exposed_ports = snapshot.source.exposed_ports;
  spec.allow_unauthenticated_access = snapshot.source.allow_unauthenticated_access;
  using Made = detail::Outcome<wire::SandboxRecord>;
  CO_TRY(files, co_await copy_files(snapshot.id, times));
  std::vector<std::shared_ptr<Made>> all;
  for (const std::string& id : files) {
    all.push_back(std::make_shared<Made>());
    work.spawn("copy", detail::run_to_end<wire::SandboxRecord>(all.back(), create(spec, id)));
  }
  std::vector<wire::SandboxRecord> copies;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& made = all[i];
    while (!made->result) CO_TRY_DO(co_await told(made->there));
    if (*made->result) {
      copies.push_back(**made->result);
    } else {
      if (!files[i].empty()) start_cleaning(files[i], 0);  // whether it got as far as using them
      wire::SandboxRecord failed;
      failed.status = wire::State::terminated;
      failed.error_details = made->result->error().what;
      copies.push_back(std::move(failed));
    }
  }
  // It was only the way there. The copies descend from what the source descends from.
  CO_TRY_DO(co_await delete_snapshot(snapshot.id));
  co_return copies;
}

// All copies before anything is written to one: each is a commit of the pool, and the first write
// to a copy makes the next commit count anew who shares the tree of all its files. What could not
// be copied, or has no room as a sandbox, has no id; its create tries again, and says why.
Task<std::vector<std::string>> Core::copy_files(std::string snapshot, int times) {
  auto ids = std::make_shared<std::vector<std::string>>(times);
  const int places = options.max_sandboxes - static_cast<int>(boxes.size() + arriving);
  const int ahead = std::clamp(places, 0, times);
  std::function<Result<void>()> copy = [this, ids, snapshot, ahead]() -> Result<void> {
    for (std::string& id : *ids | std::views::take(ahead)) {
      std::string fresh = new_id();
      if (auto copied = storage->copy_upper(fresh, snapshot); !copied) {
        // Nobody else knows of it; what stays now goes with the next start.
        if (auto gone = storage->remove_upper(fresh); !gone)
          log::warn("sandbox.copy", {{"left", fresh}, {"error", gone.error().what}});
        return copied;
      }
      id = std::move(fresh);
    }
    return ok;
  };
  auto copied = co_await pool.run(std::move(copy));
  if (copied) copied = fault("copy.after_files");
  if (!copied) log::warn("sandbox.copy", {{"snapshot", snapshot}, {"error", copied.error().what}});
  co_return std::move(*ids);
}

Task<wire::SandboxRecord> Core::rollback(std::string id_or_name, std::string snapshot_id) {
  CO_TRY(box, known(id_or_name));
  CO_TRY(moving, co_await turn_at(box));
  CO_TRY(snapshot, usable_snapshot(snapshot_id));  // nobody can delete it from here to the note
  if (box->record.status != wire::State::running && box->record.status != wire::State::suspended)
    co_return Error{
        Code::invalid,
        str("sandbox ", box->record.id, " is ", box->record.status, ": it cannot be rolled back"),
        box->record.status == wire::State::terminated ? "SANDBOX_TERMINATED" : "WRONG_STATE"};
  auto under = images->held("snapshot:" + snapshot_id);
  if ((under ? under : image)->generation != box->plan.image->generation)
    co_return Error{Code::invalid, str("snapshot ", snapshot_id,
                                       " is of another image than sandbox ", box->record.id)};
  wire::SandboxRecord record = box->record;
  record.rollback_to = snapshot_id;
  CO_TRY_DO(records->save(record), "note");
  box->record = std::move(record);
  CO_FAULT("rollback.after_row");
  CO_TRY_DO(co_await roll_back(box));
  CO_TRY_DO(co_await synced());
  co_return box->record;
}

// Of an engine that was killed; once what is kept running in boxes is known, because all of that
// starts anew.
void Core::resume_rollbacks() {
  for (const auto& [id, box] : boxes)
    if (!box->record.rollback_to.empty())
      work.spawn("roll back " + id, resume_rollback(box, Moving(box)));
}

// The turn at the box lasts as long as this.
Task<void> Core::resume_rollback(std::shared_ptr<Box> box, [[maybe_unused]] Moving moving) {
  co_return co_await roll_back(box);
}

// From the note to a box that runs with the old files. Every step may have been done before, by an
// engine that was killed. The box is not settled meanwhile: that its processes end is our doing,
// and who deletes it waits until we are through.
Task<void> Core::roll_back(std::shared_ptr<Box> box) {
  box->settled = false;
  box->record.status = wire::State::snapshotting;
  auto done = co_await replace_files(box);
  auto stopped = [&] { return !done && (closing || done.error().code == Code::cancelled); };
  // What failed may have been a moment's; giving up costs the sandbox.
  if (!done && !stopped()) done = co_await replace_files(box);
  box->settled = true;
  if (stopped()) {  // the next engine goes on from the note
    box->changed.notify();
    co_return done;
  }
  if (done) {
    box->life.last_use = std::chrono::steady_clock::now();
    managed->box_restarted(box->record.id);  // before anybody sees it running
    wire::SandboxRecord record = box->record;
    record.snapshot_id = record.rollback_to;
    record.rollback_to.clear();
    record.status = wire::State::running;
    record.tier = kActive;
    record.reason.clear();
    done = records->save(record);
    if (done) box->record = std::move(record);
  }
  box->changed.notify();
  if (done) {
    CO_FAULT("rollback.after_running");
    log::info("sandbox.rolled_back",
              {{"sandbox", box->record.id}, {"snapshot", box->record.snapshot_id}});
    co_return ok;
  }
  std::string why = str("rolling back to ", box->record.rollback_to, ": ", done.error().what);
  CO_TRY_DO(terminate(box, "Failure", "RollbackFailed", why));
  co_return done;
}

Task<void> Core::replace_files(std::shared_ptr<Box> box) {
  const std::string id = box->record.id;
  box->link.reset();
  box->pid = 0;
  CO_TRY_DO(co_await clean_kernel(id));
  CO_FAULT("rollback.after_kill");
  CO_TRY_DO(co_await forget(id));
  std::function<Result<void>()> remove = [this, id] { return storage->remove_upper(id); };
  CO_TRY_DO(co_await pool.run(std::move(remove)));
  CO_FAULT("rollback.after_remove");
  BoxPlan plan{box->plan.image, box->record.rollback_to};
  std::function<Result<void>()> make = [this, id, plan] { return make_files(id, plan); };
  CO_TRY_DO(co_await pool.run(std::move(make)));
  CO_FAULT("rollback.after_files");
  box->plan = std::move(plan);
  // The range of a sandbox that slept through a restart of the machine may be another instance's by
  // now. Files do not know theirs.
  CO_TRY(base, take_range());
  ranges_taken.erase(std::exchange(box->base, base));
  CO_TRY_DO(records->set_base(id, base), "note");
  box->life.frozen = false;
  box->life.cpu_us = -1;
  box->life.oom_kills = 0;
  CO_TRY_DO(co_await prepare({id, box->base}, box->plan));
  co_return co_await start(box);
}

}  // namespace glovebox::engine

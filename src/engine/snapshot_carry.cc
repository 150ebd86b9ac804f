// Snapshots to and from files: what leaves, and what comes in. Either way the tree is a stranger's,
// and glovebox-image, which has nothing to lose, is the one that reads or fills it.
//
//   coming in   row (temporary), an overlay of image and new files filled, sealed, manifest,
//               row `completed`
//
// What a crash leaves of that is a temporary row and files that nobody knows: both go at start-up.

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/finish.h"
#include "engine/snapshot.h"
#include "engine/snapshot_file.h"

namespace glovebox::engine {

static metrics::Counter exported_total("engine_snapshots_exported_total",
                                       "Snapshots that were written to files.");
static metrics::Counter imported_total("engine_snapshots_imported_total",
                                       "Snapshots that came in from files.");

namespace {

// While it is being read, nobody deletes it.
class Reading {
 public:
  Reading(std::multiset<std::string>& all, const std::string& id)
      : all_(all), at_(all.insert(id)) {}
  Reading(const Reading&) = delete;
  ~Reading() { all_.erase(at_); }

 private:
  std::multiset<std::string>& all_;
  std::multiset<std::string>::iterator at_;
};

struct Outgoing {
  Sha256 hash;
  Core::Sink sink;
};
Task<void> counted(std::shared_ptr<Outgoing> to, std::string piece) {
  to->hash.add(piece);
  co_return co_await to->sink(std::move(piece));
}

}  // namespace

Task<void> Core::export_snapshot(std::string id, Sink sink) {
  CO_TRY(record, usable_snapshot(id));
  Reading reading(exporting, id);
  auto to = std::make_shared<Outgoing>();
  to->sink = std::move(sink);
  CO_TRY_DO(co_await counted(to, encode_file_head(record)));
  CO_TRY(range, Images::Range::take(*this));
  Sink through = [to](std::string piece) { return counted(to, std::move(piece)); };
  CO_TRY(done,
         co_await images->tool().run_to_stream(
             {"pack", range.text(), path(str("pool/snapshots/", id, "/u"))}, std::move(through)),
         "pack the files of snapshot ", id);
  for (const std::string& note : done.notes)
    log::info("snapshot.export", {{"snapshot", id}, {"note", note}});
  CO_TRY_DO(co_await to->sink(encode_file_tail(to->hash.hex(), snapshots->key)));
  exported_total.add();
  log::info("snapshot.exported", {{"snapshot", id}, {"entries", done.entries}});
  co_return ok;
}

// One that is on its way in. If it does not arrive, whether the file was wrong or the client went
// away, nothing of it stays.
class Core::Arrival {
 public:
  Arrival(Core& core, wire::SnapshotRecord record) : record(std::move(record)), core_(core) {}
  Arrival(const Arrival&) = delete;
  ~Arrival() {
    if (!arrived && !core_.closing) core_.work.spawn("import", core_.drop_arrival(record));
  }
  wire::SnapshotRecord record;
  bool arrived = false;

 private:
  Core& core_;
};

Task<void> Core::drop_arrival(wire::SnapshotRecord record) {
  CO_TRY_DO(disown(record));
  std::function<Result<void>()> remove = [this, id = record.id] {
    return storage->remove_upper(id);
  };
  CO_TRY_DO(co_await pool.run(std::move(remove)));
  co_return co_await finish_deleting(record.id);
}

Task<wire::SnapshotRecord> Core::import_snapshot(Source source) {
  SnapshotFileReader file(std::move(source));
  CO_TRY(record, co_await file.head());
  CO_TRY_DO(storage->check_room());
  wire::CreateSandbox spec;
  spec.image = record.source.image;
  CO_TRY(plan, plan_of(spec));
  const std::string& here = plan.image->generation;
  if (const std::string& there = record.image_generation; !there.empty() && there != here) {
    if (plan.image != image)
      co_return Error{Code::conflict,
                      str("image ", valid_utf8(spec.image),
                          " is another here than the one the files were taken above"),
                      "IMAGE_DIFFERS"};
    // Two machines are seldom quite alike, and few files depend on it.
    log::warn("snapshot.image_differs", {{"there", valid_utf8(there)}, {"here", here}});
  }
  record.image_generation = here;
  record.id = new_id();
  record.temporary = true;
  if (record.created_at == 0) record.created_at = system_clock().unix_ms();
  const std::string id = record.id;
  CO_TRY_DO(snapshots->records.insert(record), "note");
  Arrival arrival(*this, record);
  CO_TRY_DO(images->hold("snapshot:" + id, *plan.image), "hold the image");
  CO_FAULT("import.after_row");
  std::function<Result<void>()> make = [this, id] { return storage->make_upper(id); };
  CO_TRY_DO(co_await pool.run(std::move(make)));
  CO_FAULT("import.after_upper");
  CO_TRY(range, Images::Range::take(*this));
  std::vector<std::string> words{"unpack-over", range.text(), path(plan.image->root),
                                 path(box_dir(id))};
  for (auto& word : images->limits()) words.push_back(std::move(word));
  Source archive = [&file] { return file.archive(); };
  CO_TRY(done, co_await images->tool().run_on_stream(std::move(words), std::move(archive)),
         "unpack the files");
  CO_FAULT("import.after_unpack");
  CO_TRY(ours, file.check(snapshots->key));
  // What a sandbox may reach is for who imports to say, not for who made the file.
  if (!ours) record.source.network.reset();
  for (const std::string& note : done.notes)
    log::info("snapshot.import", {{"snapshot", id}, {"note", note}});

  auto finished = std::make_shared<wire::SnapshotRecord>(record);
  finished->temporary = false;
  finished->status = "completed";
  std::function<Result<void>()> finish = [this, finished]() -> Result<void> {
    const std::string& id = finished->id;
    TRY_DO(storage->commit());
    if (auto used = storage->used_by_upper(id))
      finished->size_bytes = static_cast<std::int64_t>(*used);
    TRY_DO(storage->seal_upper(id, id));
    TRY_DO(fault("import.after_seal"));
    return storage->write_manifest(id, seal_manifest(*finished, snapshots->key));
  };
  CO_TRY_DO(co_await pool.run(std::move(finish)));
  CO_FAULT("import.after_manifest");
  CO_TRY_DO(snapshots->records.save(*finished), "note that it is whole");
  arrival.arrived = true;
  CO_FAULT("import.after_completed");
  std::function<Result<void>()> remove = [this, id] { return storage->remove_upper(id); };
  CO_TRY_DO(co_await pool.run(std::move(remove)), "files it came by");
  CO_TRY_DO(co_await synced());
  imported_total.add();
  log::info("snapshot.imported", {{"snapshot", id}, {"ours", ours}, {"entries", done.entries}});
  co_return *finished;
}

}  // namespace glovebox::engine

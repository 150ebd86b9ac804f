// Sandboxes that outlive the machine's restart: their files do. They come back suspended and cold,
// and are started anew, with their entrypoint, when they are wanted.

#include <unistd.h>

#include <cerrno>

#include "base/fault.h"
#include "base/log.h"
#include "engine/core.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::engine {

static constexpr const char* kBootId = "/proc/sys/kernel/random/boot_id";

// What an overlay and its mounts write for themselves, where a sandbox has filled its disk.
static constexpr std::int64_t kMbToStart = 8;

// Whether the machine may have been restarted since an engine was last here.
Result<bool> Core::was_rebooted() const {
  TRY(boot, sys::read_file(kBootId, 256));
  auto before = sys::read_file(path("boot"), 256);
  return !before || *before != boot;
}

// Once all sandboxes are found: who dies before has not been here.
Result<void> Core::note_boot() const {
  TRY(boot, sys::read_file(kBootId, 256));
  return sys::write_file_atomic(path("boot"), boot, 0600);
}

// True: it has no processes, and that is as it should be.
Result<bool> Core::adopt_cold(const std::shared_ptr<Box>& box) {
  wire::SandboxRecord record = box->record;
  if (record.status == wire::State::pending || record.name.empty()) return false;
  // One that was cold before may have been on its way up when its engine died. Nobody was told of
  // that.
  if (record.tier != kCold && !(rebooted && box->pid == 0)) return false;
  if (std::exchange(box->pid, 0) != 0)
    work.spawn("clear " + record.id, clear_cold(box, Moving(box)));
  if (record.tier == kCold && record.status == wire::State::suspended && record.last_activity_at)
    return true;
  record.status = wire::State::suspended;
  record.tier = kCold;
  record.last_activity_at = last_activity_ms(*box);
  record.reason = "the machine was restarted: its files are there, its processes are not";
  TRY_DO(records->save(record), "note");
  log::info("sandbox.cold", {{"sandbox", record.id}});
  box->record = std::move(record);
  return true;
}

// All that an earlier life of it may have left, but for its files.
Task<void> Core::clear_kernel(std::string id) {
  CO_TRY_DO(co_await clean_kernel(id), "clear what was left of it");
  if (::unlink(path(hand_socket(id)).c_str()) < 0 && errno != ENOENT)
    co_return sys_error("remove socket");
  co_return co_await forget(id);
}

Task<void> Core::clear_cold(std::shared_ptr<Box> box, Moving moving) {
  co_return co_await clear_kernel(box->record.id);
}

Task<void> Core::start_cold(std::shared_ptr<Box> box) {
  box->settled = false;  // who wants to delete it waits until it is the one or the other
  auto started = co_await launch_cold(box);
  if (!started) {
    box->link.reset();
    box->pid = 0;
    auto cleared = co_await clear_kernel(box->record.id);
    if (!cleared)
      log::warn("sandbox.cold", {{"sandbox", box->record.id}, {"error", cleared.error().what}});
  }
  box->settled = true;
  box->changed.notify();
  co_return started;
}

Task<void> Core::launch_cold(std::shared_ptr<Box> box) {
  const std::string id = box->record.id;
  CO_TRY_DO(storage->check_room());
  CO_TRY_DO(co_await clear_kernel(id));
  // Ranges of ids are claimed for as long as the machine runs. Files do not know theirs.
  CO_TRY(base, take_range());
  ranges_taken.erase(std::exchange(box->base, base));
  CO_TRY_DO(records->set_base(id, base), "note");
  CO_FAULT("cold.after_base");
  // start() sets it back once all is mounted; who dies between leaves that to the next start.
  std::function<Result<void>()> more = [this, id, mb = box->record.resources.disk_mb] {
    return storage->limit_upper(id, mb + kMbToStart);
  };
  CO_TRY_DO(co_await pool.run(std::move(more)), "room to start");
  CO_TRY_DO(co_await prepare({id, base}, box->plan));
  CO_FAULT("cold.after_prepare");
  box->link.reset();
  box->life.frozen = false;
  box->life.cpu_us = -1;
  box->life.oom_kills = 0;
  CO_TRY_DO(co_await start(box));
  CO_FAULT("cold.after_start");
  managed->box_restarted(id);  // disk first: who finds it running must not take old numbers for new
  wire::SandboxRecord record = box->record;
  record.status = wire::State::running;
  record.tier = kActive;
  record.reason.clear();
  CO_TRY_DO(records->save(record), "note that it runs");
  box->record = std::move(record);
  log::info("sandbox.started_again", {{"sandbox", id}});
  co_return ok;
}

}  // namespace glovebox::engine

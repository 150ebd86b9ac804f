// The end of a sandbox. Deleting answers once nothing of it runs any more; what it leaves in kernel
// and on disk goes behind.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/finish.h"
#include "engine/port_rules.h"

namespace glovebox::engine {

static metrics::Counter removed_total("engine_sandboxes_terminated_total", "Sandboxes that ended.");
static metrics::Gauge alive("engine_sandboxes", "Sandboxes that are not terminated.");

constexpr Millis kDieLimit =
    60s;  // for killed processes to be gone; one in uninterruptible sleep can hold it up

Task<void> Core::remove(std::string id_or_name) {
  auto box = find(id_or_name);
  if (!box) {
    CO_TRY_DO(records->find(id_or_name));  // terminated before: nothing to do; unknown: says so
    co_return ok;
  }
  // One that is being made is finished first, and deleted then: delete always works and always
  // wins.
  while (!box->settled) CO_TRY_DO(co_await told(box->changed));
  if (box->record.status == wire::State::terminated) co_return ok;
  CO_FAULT("delete.before_row");
  std::string id = box->record.id;
  CO_TRY_DO(terminate(box, "Success(Deleted)", "UserTerminated", ""));
  CO_TRY_DO(co_await kill(id), "end its processes");
  if (!box->record.name.empty()) CO_TRY_DO(co_await synced());
  co_return ok;
}

Result<void> Core::terminate(const std::shared_ptr<Box>& box, std::string outcome,
                             std::string reason, std::string details) {
  wire::SandboxRecord record = box->record;
  record.status = wire::State::terminated;
  record.tier.clear();
  record.terminated_at = system_clock().unix_ms();
  record.outcome = std::move(outcome);
  record.termination_reason = std::move(reason);
  record.error_details = std::move(details);
  TRY_DO(records->save(record), "note the end of ", record.id);
  FAULT("delete.after_row");
  box->record = record;
  box->link.reset();
  managed->forget(record.id);
  if (auto gone = PortRules(records->database()).forget(record.id); !gone)
    log::warn("sandbox.port_rules", {{"sandbox", record.id}, {"error", gone.error().what}});
  box->changed.notify();
  boxes.erase(record.id);
  if (!record.name.empty()) names.erase(record.name);
  on_change(record.id);
  alive.set(static_cast<std::int64_t>(boxes.size()));
  removed_total.add();
  if (!record.pool_id.empty()) pools->wanted.notify();
  log::info("sandbox.terminated", {{"sandbox", record.id},
                                   {"reason", record.termination_reason},
                                   {"details", record.error_details}});
  start_cleaning(record.id, box->base);
  return ok;
}

static Result<void> kill_groups(const sys::CgroupRoots& roots, const std::string& prefix,
                                const std::string& id) {
  TRY(groups, sys::BoxCgroups::find(roots, prefix, id));
  return groups ? groups->kill() : ok;
}

// False: processes are still on their way out.
static Result<bool> remove_groups(const sys::CgroupRoots& roots, const std::string& prefix,
                                  const std::string& id) {
  TRY(groups, sys::BoxCgroups::find(roots, prefix, id));
  if (!groups) return true;
  TRY(populated, groups->populated());
  if (populated) return false;
  auto removed = groups->remove();
  if (!removed && removed.error().tag == "EBUSY") return false;
  if (!removed) return std::move(removed.error());
  return true;
}

Task<void> Core::kill(std::string id) {
  std::function<Result<void>()> kill_them = [this, id] { return kill_groups(cgroups, prefix, id); };
  co_return co_await killers.run(std::move(kill_them));
}

Task<void> Core::clean_kernel(std::string id) {
  CO_TRY_DO(co_await kill(id));
  auto deadline = std::chrono::steady_clock::now() + kDieLimit;
  auto gone = std::make_shared<bool>(false);
  for (Millis pause{1};; pause = std::min(pause * 2, Millis(250))) {
    std::function<Result<void>()> attempt = [this, id, gone]() -> Result<void> {
      TRY(done, remove_groups(cgroups, prefix, id));
      *gone = done;
      return ok;
    };
    CO_TRY_DO(co_await pool.run(std::move(attempt)), "control groups of ", id);
    if (*gone) co_return co_await network->detach(id);
    if (std::chrono::steady_clock::now() > deadline)
      co_return Error{Code::timeout, str("processes of ", id, " do not die")};
    CO_TRY_DO(co_await net::sleep(pause));
  }
}

// The launcher hears of a hand's end a moment after its group is empty.
Task<void> Core::forget(std::string id) {
  auto deadline = std::chrono::steady_clock::now() + kDieLimit;
  for (Millis pause{1}; launcher && launcher->alive(); pause = std::min(pause * 2, Millis(250))) {
    auto forgotten = co_await launcher->forget(id);
    if (forgotten || forgotten.error().code != Code::conflict) co_return forgotten;
    if (std::chrono::steady_clock::now() > deadline) co_return forgotten;
    CO_TRY_DO(co_await net::sleep(pause));
  }
  co_return ok;
}

void Core::start_cleaning(const std::string& id, uid_t base) {
  ++cleaning;  // from now, not from when the task first runs
  work.spawn("clean " + id, clean(id, base));
}

// After it the kernel holds nothing of the box and the disk only its record. Each step may be
// repeated by the next engine.
Task<void> Core::clean(std::string id, uid_t base) {
  auto done = co_await clean_kernel(id);
  if (done) done = fault("delete.after_kernel");
  if (done) {
    std::function<Result<void>()> remove_files = [this, id] { return storage->remove_upper(id); };
    done = co_await pool.run(std::move(remove_files));
  }
  if (done) done = fault("delete.after_files");
  if (done && ::unlink(path(hand_socket(id)).c_str()) < 0 && errno != ENOENT)
    done = sys_error("remove socket");
  if (done) done = co_await forget(id);
  if (done) done = images->release(id);
  if (done) done = records->mark_cleaned(id);
  --cleaning;
  cleaned.notify();
  if (!done)
    co_return std::move(done.error())
        .with(str("clean up after ", id, ", which the next start will try again"));
  ranges_taken.erase(base);
  co_return ok;
}

// A box's first process has ended, and we did not ask for it.
void Core::on_exit(const wire::BoxNote& note) {
  std::erase_if(blanks, [&](const Blank& blank) {
    if (blank.id != note.id) return false;
    log::warn("engine.blank", {{"id", note.id}, {"error", "it died"}});
    start_cleaning(note.id, blank.base);
    return true;
  });
  if (lose_warm(note.id)) return;
  auto found = boxes.find(note.id);
  if (found == boxes.end() || !found->second->settled) return;  // its creation fails by itself
  if (found->second->record.tier == kCold) return;  // what is left of a start that failed
  auto ended = terminate(found->second, "Failure", "Exited",
                         str("the hand ended with wait status ", note.wait_status));
  if (!ended) log::error("engine.terminate", {{"sandbox", note.id}, {"error", ended.error().what}});
}

Task<void> Core::destroy_all() {
  closing = true;
  blanks_wanted.notify();
  while (!boxes.empty()) {
    auto id = boxes.begin()->first;
    CO_TRY_DO(co_await remove(id));
  }
  end_pools();
  for (; !blanks.empty(); blanks.pop_front())
    start_cleaning(blanks.front().id, blanks.front().base);
  while (cleaning > 0) CO_TRY_DO(co_await told(cleaned));
  CO_TRY_DO(co_await network->release());
  CO_TRY(left, sys::list_boxes(cgroups, prefix));
  if (!left.empty())
    co_return Error{Code::internal,
                    str(left.size(), " sandboxes could not be removed; see the log")};
  if (launcher && launcher->alive()) CO_TRY_DO(co_await launcher->retire());
  ::unlink(path(wire::kLauncherSocket).c_str());
  CO_TRY_DO(sys::remove_prefix(cgroups, prefix), "control groups");
  co_return claims->release();
}

}  // namespace glovebox::engine

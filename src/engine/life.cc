// Suspending a sandbox, resuming it, and the waking that every operation begins with.

#include "engine/life.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/finish.h"
#include "net/deadline.h"

namespace glovebox::engine {

static metrics::Counter suspended_total("engine_sandboxes_suspended_total",
                                        "Sandboxes that were suspended.");
static metrics::Counter resumed_total("engine_sandboxes_resumed_total",
                                      "Sandboxes that were resumed.");
static metrics::Histogram wake_seconds("engine_sandbox_wake_seconds",
                                       "From the need to the sandbox that runs again.");

namespace {

constexpr Millis kWakeLimit = 60s;  // for a wake, and for whatever must end before it
constexpr Millis kQuietLimit = 3s;  // for operations that are just ending, at a suspend

Error gone(const Box& box) {
  return {Code::gone, str("sandbox ", box.record.id, " is terminated"), "SANDBOX_TERMINATED"};
}

Error wrong_state(const Box& box, std::string_view verb) {
  return {Code::invalid,
          str("sandbox ", box.record.id, " is ", box.record.status, ": it cannot be ", verb),
          box.record.status == wire::State::terminated ? "SANDBOX_TERMINATED" : "WRONG_STATE"};
}

bool between_states(const Box& box) {
  return box.life.moving || box.record.status == wire::State::suspending ||
         box.record.status == wire::State::snapshotting;
}

// Until no verb is at the box any more.
Task<void> settled(std::shared_ptr<Box> box) {
  net::Deadline deadline(kWakeLimit);
  while (between_states(*box)) {
    if (deadline.left() <= 0ms)
      co_return Error{Code::timeout,
                      str("sandbox ", box->record.id, " is still ", box->record.status)};
    CO_TRY_DO(co_await told(box->changed, std::min(Millis(1s), deadline.left())));
  }
  co_return ok;
}

}  // namespace

Task<void> told(net::Event& event, Millis limit) {
  auto waited = co_await event.wait(limit);
  if (!waited && waited.error().code != Code::timeout) co_return waited;
  co_return ok;
}

std::int64_t last_activity_ms(const Box& box) {
  const std::int64_t now = system_clock().unix_ms();
  if (box.life.uses > 0) return now;
  const auto ago = std::chrono::steady_clock::now() - box.life.last_use;
  return std::max(box.record.created_at, now - std::chrono::duration_cast<Millis>(ago).count());
}

// In a record of one that runs it is the time before it last slept.
void recover_last_use(Box& box) {
  if (box.record.status != wire::State::suspended || box.record.last_activity_at == 0) return;
  const std::int64_t ago = system_clock().unix_ms() - box.record.last_activity_at;
  box.life.last_use -= Millis(std::max<std::int64_t>(0, ago));
}

Moving::Moving(std::shared_ptr<Box> box) : box_(std::move(box)) { box_->life.moving = true; }

Moving::~Moving() {
  if (!box_) return;
  box_->life.moving = false;
  box_->changed.notify();
}

// Calls with a key outlive the request that made them, and nobody need hold the hand for them.
Task<bool> Core::works_unwatched(std::shared_ptr<Box> box) {
  CO_TRY(link, co_await link_of(box));
  CO_TRY(processes, co_await link->list());
  for (const wire::ProcessInfo& info : processes)
    if (info.status == wire::Status::running && info.kind != wire::Kind::exec) co_return true;
  co_return false;
}

// Until nothing goes on in it, or another verb came first.
Task<void> Core::come_to_rest(std::shared_ptr<Box> box) {
  // An operation whose last byte the client has seen may take a moment to be over here.
  net::Deadline deadline(kQuietLimit);
  for (;;) {
    if (box->record.status != wire::State::running || box->life.moving) co_return ok;
    if (box->life.uses == box->life.watchers) {
      auto works = co_await works_unwatched(box);
      if (!works) co_return std::move(works.error()).with("what goes on in it");
      if (!*works && box->life.uses == box->life.watchers) co_return ok;
    }
    if (deadline.left() <= 0ms)
      co_return Error{Code::conflict,
                      str("sandbox ", box->record.id, " is in use: ",
                          std::max<std::size_t>(1, box->life.uses - box->life.watchers),
                          " operations are under way; end them and try again"),
                      "SANDBOX_IN_USE"};
    CO_TRY_DO(co_await net::sleep(std::min(Millis(20), deadline.left())));
  }
}

// Disk first: whoever finds `suspending` makes it `suspended`.
Task<void> Core::put_to_sleep(std::shared_ptr<Box> box, std::string reason, Moving moving) {
  wire::SandboxRecord record = box->record;
  record.status = wire::State::suspending;
  CO_TRY_DO(records->save(record), "note");
  box->record = record;
  auto frozen = fault("suspend.after_suspending");
  if (frozen) frozen = co_await freeze(box, kSuspendFreezeLimit);
  if (box->record.status == wire::State::terminated) co_return gone(*box);
  if (frozen) frozen = fault("suspend.after_freeze");
  record = box->record;  // an update may have come between
  if (frozen) {
    record.status = wire::State::suspended;
    record.tier = kRam;
    record.reason = std::move(reason);
    record.last_activity_at = last_activity_ms(*box);
    frozen = records->save(record);
  }
  if (!frozen) {
    CO_TRY_DO(co_await run_on(box), "let it run on");
    co_return std::move(frozen.error()).with(str("suspend ", record.id));
  }
  box->record = record;
  suspended_total.add();
  log::info("sandbox.suspended", {{"sandbox", record.id}, {"reason", record.reason}});
  CO_FAULT("suspend.after_suspended");
  work.spawn("reclaim " + record.id, give_back_memory(box));
  co_return co_await synced();
}

// Back from `suspending`: nobody was told that it sleeps.
Task<void> Core::run_on(std::shared_ptr<Box> box) {
  auto thawed = co_await thaw(box);  // if it failed the next operation tries again
  if (box->record.status == wire::State::terminated) co_return gone(*box);
  wire::SandboxRecord record = box->record;
  record.status = wire::State::running;
  record.tier = kActive;
  record.reason.clear();
  CO_TRY_DO(records->save(record), "note that it runs on");
  box->record = std::move(record);
  co_return thawed;
}

Task<bool> Core::suspend(std::string id_or_name) {
  CO_TRY(box, known(id_or_name));
  while (!box->settled) CO_TRY_DO(co_await told(box->changed));
  do {
    CO_TRY_DO(co_await settled(box));
    if (box->record.status == wire::State::suspended) co_return false;
    if (box->record.status != wire::State::running) co_return wrong_state(*box, "suspended");
    if (box->record.name.empty())
      co_return Error{Code::invalid,
                      str("sandbox ", box->record.id,
                          " has no name: only a named one can be suspended; give it one first"),
                      "SANDBOX_UNNAMED"};
    CO_TRY_DO(co_await come_to_rest(box));
  } while (box->record.status != wire::State::running || box->life.moving);
  CO_TRY_DO(co_await put_to_sleep(box, "", Moving(box)));
  co_return true;
}

// Start-up: the kernel becomes what the disk says.
void Core::recover_life(const std::shared_ptr<Box>& box, const sys::BoxCgroups& groups) {
  box->life.frozen = groups.is_frozen().value_or(false);
  if (box->record.status == wire::State::running)
    box->record.tier = box->life.frozen ? kPaused : kActive;
  if (box->record.status == wire::State::suspending || box->record.status == wire::State::suspended)
    work.spawn("asleep " + box->record.id, sleep_again(box, Moving(box)));
}

Task<void> Core::sleep_again(std::shared_ptr<Box> box, Moving moving) {
  auto frozen = co_await freeze(box, kSuspendFreezeLimit);
  if (box->record.status == wire::State::terminated) co_return ok;
  if (!frozen) {
    CO_TRY_DO(co_await run_on(box));
    co_return frozen;
  }
  wire::SandboxRecord record = box->record;
  record.status = wire::State::suspended;
  record.tier = kRam;
  record.last_activity_at = last_activity_ms(*box);
  CO_TRY_DO(records->save(record), "note");
  box->record = std::move(record);
  co_return ok;
}

// From suspended to running. Disk first: one that is noted as running and found frozen is paused,
// and wakes at its next operation.
Task<void> Core::wake_suspended(std::shared_ptr<Box> box) {
  if (box->record.tier == kCold) co_return co_await start_cold(box);
  wire::SandboxRecord record = box->record;
  record.status = wire::State::running;
  record.tier = kActive;
  record.reason.clear();
  CO_TRY_DO(records->save(record), "note");
  CO_FAULT("resume.after_row");
  box->record = std::move(record);
  box->record.tier = kPaused;  // which is what it is until it is thawed
  CO_TRY_DO(co_await thaw(box));
  CO_FAULT("resume.after_thaw");
  resumed_total.add();
  log::info("sandbox.resumed", {{"sandbox", box->record.id}});
  co_return ok;
}

Task<void> Core::wake(std::shared_ptr<Box> box, Moving moving) {
  auto begun = std::chrono::steady_clock::now();
  box->life.last_use = begun;
  auto woken = box->record.status == wire::State::suspended ? co_await wake_suspended(box)
                                                            : co_await thaw(box);
  if (!woken) co_return std::move(woken.error()).with(str("wake sandbox ", box->record.id));
  if (box->record.status == wire::State::terminated) co_return gone(*box);
  box->life.last_use = std::chrono::steady_clock::now();
  wake_seconds.observe(std::chrono::duration<double>(box->life.last_use - begun).count());
  co_return ok;
}

Task<bool> Core::resume(std::string id_or_name) {
  CO_TRY(box, known(id_or_name));
  while (!box->settled) CO_TRY_DO(co_await told(box->changed));
  CO_TRY_DO(co_await settled(box));
  if (box->record.status == wire::State::running) co_return false;
  if (box->record.status != wire::State::suspended) co_return wrong_state(*box, "resumed");
  CO_TRY_DO(co_await wake(box, Moving(box)));
  co_return true;
}

// Who comes while another wakes the box waits for that one.
Task<void> Core::awake(std::shared_ptr<Box> box) {
  for (;;) {
    CO_TRY_DO(co_await settled(box));
    switch (box->record.status) {
      case wire::State::terminated: co_return gone(*box);
      case wire::State::pending:
        co_return Error{Code::conflict, str("sandbox ", box->record.id, " is ", box->record.status),
                        "SANDBOX_NOT_RUNNING"};
      case wire::State::running:
        if (!box->life.frozen) co_return ok;
        break;
      case wire::State::suspended: break;
      case wire::State::suspending:
      case wire::State::snapshotting: continue;
    }
    // A client that hangs up in the middle must not leave it half awake.
    CO_TRY_DO(co_await finish("wake", wake(box, Moving(box))));
  }
}

}  // namespace glovebox::engine

// Sandboxes that nobody uses. Idle is a sandbox without an operation under way whose processes use
// next to no processor time; what it sends out by itself does not count. After a while it is
// paused, and at the end of its timeout suspended, or ended where it has no name.

#include <algorithm>

#include "base/log.h"
#include "base/metrics.h"
#include "engine/core.h"
#include "net/task.h"

namespace glovebox::engine {

static metrics::Counter paused_total("engine_sandboxes_paused_total",
                                     "Sandboxes that were paused.");
static metrics::Counter timeouts_total("engine_sandbox_timeouts_total",
                                       "Sandboxes that were idle for their whole timeout.");
static metrics::Counter oom_total("engine_oom_kills_total",
                                  "Processes of sandboxes ended for want of memory.");

namespace {

using Time = Life::Time;

constexpr Millis kTick = 1s;
constexpr Millis kLongestWindow = 10s;    // over which processor time is measured
constexpr Millis kPauseFreezeLimit = 1s;  // an operation that comes meanwhile waits for it

struct Sample {
  std::shared_ptr<Box> box;
  sys::BoxCgroups::Usage usage;
  bool taken = false;
};

Millis since(Time then, Time now) { return std::chrono::duration_cast<Millis>(now - then); }

// A box that is being used is looked at each time: what it is killed for is to be on its record
// soon.
bool due(const Box& box, Millis window, Time now) {
  const Life& life = box.life;
  if (life.frozen || life.moving || box.record.status != wire::State::running) return false;
  return life.uses > 0 || since(life.last_use, now) < kLongestWindow ||
         since(life.sampled_at, now) >= window;
}

}  // namespace

Task<void> Core::watch_idle() {
  while (!closing) {
    CO_TRY_DO(co_await net::sleep(kTick));
    auto looked = co_await look_at_all();
    if (!looked) log::warn("engine.idle", {{"error", looked.error().what}});
  }
  co_return ok;
}

Millis Core::pause_after() const {
  return options.pause_after_secs > 0 ? Millis(Seconds(options.pause_after_secs)) : net::kForever;
}

Task<void> Core::look_at_all() {
  auto samples = std::make_shared<std::vector<Sample>>();
  const Time now = std::chrono::steady_clock::now();
  for (const auto& [id, box] : boxes) {
    Millis shortest = std::min(pause_after(), Millis(Seconds(box->record.timeout_secs)));
    if (box->settled && due(*box, std::clamp(shortest / 3, kTick, kLongestWindow), now))
      samples->push_back({box, {}});
  }
  std::function<Result<void>()> measure = [this, samples]() -> Result<void> {
    for (Sample& sample : *samples) {
      auto groups = sys::BoxCgroups::find(cgroups, prefix, sample.box->record.id);
      if (!groups || !*groups) continue;  // it is being taken away
      auto usage = (*groups)->usage();
      sample.taken = usage.has_value();
      if (usage) sample.usage = *usage;
    }
    return ok;
  };
  CO_TRY_DO(co_await freezers.looking.run(std::move(measure)));
  for (const Sample& sample : *samples)
    if (sample.taken) take_sample(sample.box, sample.usage);
  std::vector<std::shared_ptr<Box>> all;
  for (const auto& [id, box] : boxes) all.push_back(box);
  for (const auto& box : all) look_at(box);
  co_return ok;
}

void Core::take_sample(const std::shared_ptr<Box>& box, const sys::BoxCgroups::Usage& usage) {
  Life& life = box->life;
  const Time now = std::chrono::steady_clock::now();
  if (life.cpu_us >= 0) {
    auto elapsed_us = std::chrono::duration_cast<std::chrono::microseconds>(now - life.sampled_at);
    auto used_percent = 100.0 * static_cast<double>(usage.cpu_us - life.cpu_us) /
                        static_cast<double>(std::max<std::int64_t>(1, elapsed_us.count()));
    if (used_percent >= options.idle_cpu_percent) life.last_busy = now;
  }
  life.cpu_us = usage.cpu_us;
  life.sampled_at = now;
  note_oom_kills(box, usage.oom_kills);
}

// The kernel's count is of the box's control group; the record's is of the sandbox, which may have
// had more than one (it is started anew after the machine was).
void Core::note_oom_kills(const std::shared_ptr<Box>& box, std::int64_t count) {
  std::int64_t before = box->life.oom_kills.value_or(box->record.oom_kills);
  box->life.oom_kills = count;
  if (count <= before || box->record.status == wire::State::terminated) return;
  wire::SandboxRecord record = box->record;
  record.oom_kills += count - before;
  record.last_oom_kill_at = system_clock().unix_ms();
  oom_total.add(static_cast<std::uint64_t>(count - before));
  log::warn("sandbox.out_of_memory", {{"sandbox", record.id},
                                      {"killed", count - before},
                                      {"memory_mb", record.resources.memory_mb}});
  auto saved = records->save(record);
  if (!saved) log::error("engine.record", {{"sandbox", record.id}, {"error", saved.error().what}});
  box->record = std::move(record);
}

void Core::look_at(const std::shared_ptr<Box>& box) {
  Life& life = box->life;
  bool at_rest = box->settled && box->record.status == wire::State::running && life.uses == 0 &&
                 !life.moving && !life.in_doubt;
  if (!at_rest) return;
  Millis idle = since(std::max(life.last_use, life.last_busy), std::chrono::steady_clock::now());
  bool over = idle >= Seconds(box->record.timeout_secs);
  if (!over && (life.frozen || idle < pause_after())) return;
  life.in_doubt = true;
  work.spawn("idle " + box->record.id, rest(box, over));
}

// Idle, as far as can be seen from outside.
Task<void> Core::rest(std::shared_ptr<Box> box, bool over) {
  auto works = co_await works_unwatched(box);
  box->life.in_doubt = false;
  if (!works || *works) {
    box->life.last_use = std::chrono::steady_clock::now();
    co_return works ? Result<void>(ok) : std::move(works.error());
  }
  // It may have been wanted while we asked.
  if (box->life.uses > 0 || box->life.moving || box->record.status != wire::State::running)
    co_return ok;
  if (!over) co_return co_await pause(box, Moving(box));
  timeouts_total.add();
  if (!box->record.name.empty())
    co_return co_await put_to_sleep(
        box, str("idle for its timeout of ", box->record.timeout_secs, " s"), Moving(box));
  std::string id = box->record.id;
  CO_TRY_DO(terminate(box, "Success(Timeout)", "Timeout", ""));
  co_return co_await kill(id);
}

// Nothing of it is on disk: that it is frozen the kernel knows.
Task<void> Core::pause(std::shared_ptr<Box> box, Moving moving) {
  auto frozen = co_await freeze(box, kPauseFreezeLimit);
  if (box->record.status != wire::State::running) co_return ok;
  if (!frozen) {
    box->life.last_use = std::chrono::steady_clock::now();
    CO_TRY_DO(co_await thaw(box));
    co_return frozen;
  }
  box->record.tier = kPaused;
  paused_total.add();
  log::debug("sandbox.paused", {{"sandbox", box->record.id}});
  co_return ok;
}

}  // namespace glovebox::engine

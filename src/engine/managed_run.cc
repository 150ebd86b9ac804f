// How managed processes are kept running: one task for each, that waits for its end, decides, waits
// its time and starts it again.

#include <algorithm>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/core.h"
#include "engine/managed_kept.h"
#include "net/deadline.h"
#include "net/stream.h"
#include "net/task.h"

namespace glovebox::engine {

namespace {

metrics::Counter restarts_total("engine_managed_restarts_total",
                                "Managed processes that were started again by their policy.");
metrics::Counter unhealthy_total("engine_managed_unhealthy_total",
                                 "Managed processes that were killed for their health.");

constexpr Millis kLinkLimit = 10s;
constexpr Millis kAfterBroken = 200ms;
// A process that talks much is listened to in bursts: only its end is of interest here.
constexpr Millis kBetweenBursts = 200ms;
constexpr std::uint64_t kFromTheEnd = UINT64_MAX >> 1;
constexpr int kMostDoublings = 20;

bool same_command(const wire::ProcessInfo& info, const wire::StartSpec& spec) {
  // What the hand tells of the arguments is cut.
  auto cut = [](const std::string& told, const std::string& whole) {
    return whole.starts_with(told);
  };
  return info.kind == wire::Kind::exec && !info.pty && info.argv.size() <= spec.argv.size() &&
         std::equal(info.argv.begin(), info.argv.end(), spec.argv.begin(), cut);
}

bool failed(const wire::ProcessInfo& end) {
  return end.status != wire::Status::exited || end.exit_code != 0;
}

std::string describe(const wire::ProcessInfo& end) {
  if (end.status == wire::Status::oom_killed) return "the sandbox was out of memory";
  if (end.status == wire::Status::signaled) return str("ended by signal ", end.signal);
  return str("ended with exit code ", end.exit_code);
}

}  // namespace

bool restarts_after(const wire::Restart& restart, const wire::ProcessInfo& end, bool unhealthy,
                    std::int64_t restarts_used) {
  if (restart.max_restarts && restarts_used >= *restart.max_restarts) return false;
  switch (restart.policy) {
    case wire::RestartPolicy::never: return false;
    case wire::RestartPolicy::always: return true;
    case wire::RestartPolicy::on_failure: return unhealthy || failed(end);
  }
  return false;
}

Millis backoff(const wire::Restart& restart, int short_lives) {
  std::int64_t pause = restart.initial_backoff_ms;
  for (int i = 0; i < std::min(short_lives, kMostDoublings) && pause < restart.max_backoff_ms; ++i)
    pause *= 2;
  return Millis(std::min(pause, restart.max_backoff_ms));
}

// ---- the box

bool ManagedProcesses::wanted(const KeptPtr& kept) const {
  return !kept->forgotten && core_.boxes.contains(kept->sandbox);
}

bool ManagedProcesses::active(const std::string& sandbox) const {
  auto box = core_.boxes.find(sandbox);
  return box != core_.boxes.end() && box->second->record.status == wire::State::running &&
         box->second->record.tier == "active";
}

Task<void> ManagedProcesses::until_active(KeptPtr kept) {
  while (wanted(kept) && !active(kept->sandbox)) {
    const auto box = core_.find(kept->sandbox);
    CO_TRY_DO(co_await told(box->changed, 5s));
  }
  if (!wanted(kept)) co_return Error{Code::gone, "the sandbox has ended"};
  co_return ok;
}

// A connection of our own: what goes on behind nobody's request must neither wake a box nor keep it
// awake, and the requests of others must not wait behind it.
Task<std::shared_ptr<HandLink>> ManagedProcesses::link(std::string sandbox) {
  auto& there = links_[sandbox];
  if (there && there->alive()) co_return there;
  auto made = co_await HandLink::connect(
      core_.loop, str("/proc/self/fd/", core_.hands_dir.get(), "/", sandbox, ".sock"), kLinkLimit);
  if (!made) co_return std::move(made.error());
  links_[sandbox] = *made;
  co_return *made;
}

// ---- starting

Task<wire::ProcessInfo> ManagedProcesses::attempt(KeptPtr kept) {
  CO_TRY_DO(save(*kept));
  CO_FAULT("managed.before_start");
  CO_TRY(hand, co_await link(kept->sandbox));
  CO_TRY(info, co_await hand->start(kept->spec));
  if (auto fine = fault("managed.after_start"); !fine) {
    hand->signal_now(info.handle, 9, true);  // who is told that it failed must not find it running
    co_return std::move(fine.error());
  }
  if (kept->previous != 0) hand->forget_now(kept->previous);
  co_return info;
}

Task<void> ManagedProcesses::launch(KeptPtr kept) {
  kept->launching = true;
  kept->attempt_ms = system_clock().unix_ms();
  auto started = co_await attempt(kept);
  kept->launching = false;
  ++kept->attempts;
  kept->start_failed.reset();
  if (!started) {
    kept->managed.last_error = started.error().what;
    kept->start_failed = started.error();
    kept->changed.notify();
    co_return std::move(started.error());
  }
  kept->previous = kept->info.handle;
  kept->info = std::move(*started);
  kept->wants_restart = false;  // also where it was asked for meanwhile
  kept->unhealthy = false;
  kept->managed.status = wire::ManagedStatus::running;
  kept->managed.next_restart_at = 0;
  kept->managed.consecutive_health_failures = 0;
  kept->managed.health =
      kept->managed.spec.health_check ? wire::Health::starting : wire::Health::disabled;
  auto saved = save(*kept);
  kept->changed.notify();
  co_return saved;
}

// After a restart of the engine: what was being started when it ended may run without our knowing
// its number.
Task<void> ManagedProcesses::regain(KeptPtr kept) {
  while (wanted(kept) && kept->info.handle == 0) {
    auto hand = co_await link(kept->sandbox);
    auto listed = hand ? co_await (*hand)->list()
                       : Result<std::vector<wire::ProcessInfo>>(std::move(hand.error()));
    if (!listed) {
      auto waited =
          active(kept->sandbox) ? co_await net::sleep(kAfterBroken) : co_await until_active(kept);
      if (!waited && waited.error().code == Code::cancelled) co_return waited;
      continue;
    }
    for (const wire::ProcessInfo& info : *listed)
      if (same_command(info, kept->spec) && info.started_ms >= kept->attempt_ms &&
          !find(kept->sandbox, info.handle))
        kept->info = info;
    if (kept->info.handle == 0) break;
    CO_TRY_DO(save(*kept));
  }
  if (kept->info.handle != 0) {
    kept->managed.status = wire::ManagedStatus::running;
    auto hand = co_await link(kept->sandbox);
    auto info = hand ? co_await (*hand)->get(kept->info.handle)
                     : Result<wire::ProcessInfo>(std::move(hand.error()));
    if (info) kept->info = std::move(*info);
  }
  if (kept->managed.spec.health_check) kept->managed.health = wire::Health::starting;
  if (kept->info.handle == 0) kept->wants_restart = true;  // it never came to be
  supervise(kept);
  co_return ok;
}

// ---- watching

Task<void> ManagedProcesses::wait_for_end(KeptPtr kept) {
  for (;;) {
    if (!wanted(kept)) co_return Error{Code::gone, "the sandbox has ended"};
    const std::uint64_t handle = kept->info.handle;
    auto hand = co_await link(kept->sandbox);
    auto attached = hand && handle != 0
                        ? co_await (*hand)->attach(handle, false, kFromTheEnd)
                        : Result<std::unique_ptr<Attachment>>(Error{Code::not_found, ""});
    if (!hand) {
      // A box that sleeps may have none, for as long as it likes.
      CO_TRY_DO(active(kept->sandbox) ? co_await net::sleep(kAfterBroken)
                                      : co_await until_active(kept));
      continue;
    }
    if (!attached && attached.error().code == Code::not_found) {
      kept->info.status = wire::Status::signaled;
      kept->managed.last_error = "its end was not seen";
      co_return ok;
    }
    for (Millis limit = net::kForever; attached;) {
      auto event = co_await (*attached)->next(limit);
      if (event) {
        if (auto* exited = std::get_if<ExitedEvent>(&*event)) {
          kept->info = std::move(exited->info);
          co_return ok;
        }
        limit = Millis(0);
      } else if (event.error().code == Code::timeout) {
        CO_TRY_DO(co_await net::sleep(kBetweenBursts));
        limit = net::kForever;
      } else if (event.error().code == Code::cancelled) {
        co_return std::move(event.error());
      } else {
        break;  // the connection; the process runs on
      }
    }
    CO_TRY_DO(co_await net::sleep(kAfterBroken));
  }
}

Task<void> ManagedProcesses::probe(KeptPtr kept) {
  const wire::HealthCheck& check = *kept->managed.spec.health_check;
  const net::Deadline deadline{Millis(check.timeout_ms)};
  CO_TRY(stream, co_await core_.dial(kept->sandbox, check.port, deadline.left()));
  if (!check.http) co_return ok;
  CO_TRY_DO(co_await stream->write_all(
      str("GET ", check.path, " HTTP/1.1\r\nHost: localhost:", check.port,
          "\r\nUser-Agent: glovebox-health-check\r\nAccept: */*\r\n"
          "Connection: close\r\n\r\n"),
      deadline.left()));
  // "HTTP/1.1 200": all that is of interest, and all that is read.
  constexpr std::size_t kStatusBytes = 12;
  std::string head;
  char buffer[kStatusBytes];
  while (head.size() < kStatusBytes) {
    CO_TRY(got, co_await stream->read_some({buffer, kStatusBytes - head.size()}, deadline.left()));
    if (got == 0) break;
    head.append(buffer, got);
  }
  auto status = head.size() == kStatusBytes && head.starts_with("HTTP/1.")
                    ? parse_int<int>(std::string_view(head).substr(9))
                    : std::nullopt;
  if (!status) co_return Error{Code::unavailable, "no HTTP answer"};
  if (*status < 200 || *status > 399) co_return Error{Code::unavailable, str("status ", *status)};
  co_return ok;
}

// Ends only with its cancellation: what it does about bad health shows in the process's end.
Task<void> ManagedProcesses::check_health(KeptPtr kept) {
  if (!kept->managed.spec.health_check) co_return co_await net::sleep(net::kForever);
  const wire::HealthCheck check = *kept->managed.spec.health_check;
  wire::Managed& managed = kept->managed;
  CO_TRY_DO(co_await net::sleep(Millis(check.initial_delay_ms)));
  for (;;) {
    CO_TRY_DO(co_await until_active(kept));
    auto healthy = co_await probe(kept);
    if (!healthy && healthy.error().code == Code::cancelled) co_return healthy;
    if (healthy) {
      managed.health = wire::Health::healthy;
      managed.consecutive_health_failures = 0;
    } else if (active(kept->sandbox)) {  // one that was paused meanwhile could not answer
      ++managed.consecutive_health_failures;
      managed.last_error = str("health check: ", healthy.error().what);
      if (managed.consecutive_health_failures >= check.failure_threshold) {
        managed.health = wire::Health::unhealthy;
        if (managed.spec.restart.policy != wire::RestartPolicy::never) break;
      }
    }
    CO_TRY_DO(co_await net::sleep(Millis(check.interval_ms)));
  }
  kept->unhealthy = true;
  unhealthy_total.add();
  log::info("managed.unhealthy", {{"sandbox", kept->sandbox}, {"process", managed.id}});
  for (;;) {
    auto hand = co_await link(kept->sandbox);
    if (hand) (void)co_await (*hand)->signal(kept->info.handle, 9, true);
    CO_TRY_DO(co_await net::sleep(1s));
  }
}

Task<void> ManagedProcesses::until_end(KeptPtr kept) {
  co_return co_await net::first_of(wait_for_end(kept), check_health(kept));
}

// Until the pause is over, or somebody asks for something.
Task<void> ManagedProcesses::wait_for_turn(KeptPtr kept) {
  const net::Deadline deadline(backoff(kept->managed.spec.restart, kept->short_lives));
  kept->managed.status = wire::ManagedStatus::backing_off;
  kept->managed.next_restart_at = system_clock().unix_ms() + deadline.left().count();
  kept->changed.notify();
  while (!kept->wants_stop && !kept->wants_restart && !kept->forgotten) {
    auto waited = co_await kept->changed.wait(deadline.left());
    if (!waited && waited.error().code == Code::timeout) break;
    if (!waited) co_return waited;
  }
  kept->managed.next_restart_at = 0;
  co_return ok;
}

// ---- the whole

void ManagedProcesses::supervise(const KeptPtr& kept) {
  kept->supervised = true;
  core_.work.spawn("managed " + kept->managed.id, run(kept));
}

Task<void> ManagedProcesses::run(KeptPtr kept) {
  wire::Managed& managed = kept->managed;
  while (wanted(kept)) {
    if (managed.status == wire::ManagedStatus::running) {
      auto seen = co_await until_end(kept);
      if (!seen && seen.error().code != Code::gone) co_return seen;
      if (!seen) break;
      managed.last_exit = kept->info;
      if (!kept->unhealthy) managed.last_error = failed(kept->info) ? describe(kept->info) : "";
      const bool lived =
          kept->info.ended_ms - kept->info.started_ms >= managed.spec.restart.max_backoff_ms;
      kept->short_lives = lived ? 0 : kept->short_lives + 1;
      log::info(
          "managed.ended",
          {{"sandbox", kept->sandbox}, {"process", managed.id}, {"how", describe(kept->info)}});
    }
    const bool again = !kept->wants_stop && (kept->wants_restart ||
                                             restarts_after(managed.spec.restart, kept->info,
                                                            kept->unhealthy, kept->restarts_used));
    if (!again) break;
    if (!kept->wants_restart) {
      CO_TRY_DO(co_await wait_for_turn(kept));
      if (kept->wants_stop || kept->forgotten) break;
    }
    if (auto there = co_await until_active(kept); !there) break;
    if (!std::exchange(kept->wants_restart, false)) ++kept->restarts_used;
    ++managed.restart_count;
    restarts_total.add();
    managed.status = wire::ManagedStatus::starting;
    auto started = co_await launch(kept);
    if (started) continue;
    if (started.error().code == Code::cancelled) co_return started;
    ++kept->short_lives;
    kept->info.status = wire::Status::signaled;  // that did not come up counts as a failure
  }
  managed.status = wire::ManagedStatus::stopped;
  managed.next_restart_at = 0;
  kept->supervised = false;
  kept->wants_restart = false;
  auto saved = save(*kept);
  kept->changed.notify();
  co_return saved;
}

}  // namespace glovebox::engine

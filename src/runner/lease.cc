#include "runner/lease.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "runner/retry.h"
#include "runner/within.h"

namespace glovebox::runner {

namespace {

using Steady = std::chrono::steady_clock;

metrics::Counter beats("runner_heartbeats_total", "Heartbeats the service accepted.");
metrics::Counter lost("runner_leases_lost_total",
                      "Leases that were lost, assumed to be, or let go for want of progress.");

}  // namespace

struct Lease::Impl {
  Service& service;
  const std::string environment, work;
  const Bearer bearer;
  const LeaseOptions options;

  std::string last;
  Millis ttl{}, interval{};
  // When the last accepted beat was sent. The service counts from when it came, which is later: so
  // before this and ttl have passed, the lease cannot be anybody else's.
  Steady::time_point last_ok;
  bool inherited = false;  // an earlier process of ours held it
  int accepted = 0;        // beats, by this process
  bool in_doubt = false;   // a beat since then may have counted though nobody heard so
  bool corrected = false;  // we have taken the service's value for ours once since then
  bool stopping = false;   // an end is wanted, and what runs has been told
  std::function<void()> tell_stopping;
  End end = End::none;
  std::string why;
  net::Event changed;

  void finish(End how, std::string reason) {
    if (end != End::none) return;
    end = how;
    why = std::move(reason);
    if (how == End::lost || how == End::assumed_lost || how == End::stalled) lost.add();
    changed.notify();
  }

  // Of the time that was granted; the service counts from later, so nobody else has the item yet.
  Millis left() const { return std::max(ttl - since_ok(), 0ms); }
  Millis since_ok() const { return std::chrono::duration_cast<Millis>(Steady::now() - last_ok); }

  void accept(const Beat& beat, Steady::time_point sent_at) {
    beats.add();
    last = beat.last_heartbeat;
    if (beat.lease_extended) last_ok = sent_at;
    in_doubt = corrected = false;
    if (beat.ttl_seconds > 0) {
      ttl = Seconds(beat.ttl_seconds);
      interval = std::clamp(ttl / 2, options.shortest_interval,
                            std::max(options.first_interval, options.shortest_interval));
    }
    if (beat.state == "stopping" && accepted > 0 && tell_stopping) {
      if (!std::exchange(stopping, true)) tell_stopping();
    } else if (beat.state == "stopping" || beat.state == "stopped") {
      // Somebody ended what has just been given to us: the usual sign of a second owner.
      if (accepted == 0 && !inherited)
        log::error("lease.stopped_at_once", {{"work", work}, {"state", beat.state}});
      finish(End::stopping, str("the service says the item is ", beat.state));
    } else if (!beat.lease_extended) {
      finish(End::stopping, "the service does not extend the lease");
    }
    ++accepted;
    changed.notify();
  }

  // A refused beat whose reason may be one of our own that nobody heard of. While our lease cannot
  // have run out, the value that stands there can be nobody else's.
  bool refused_by_ourselves(const Beat& beat) {
    const Millis safe = accepted > 0 || inherited ? ttl : options.claim_window;
    const bool ours = (in_doubt || beat.repeated) && !corrected && !beat.last_heartbeat.empty() &&
                      (beat.state == "active" || beat.state == "starting") && since_ok() < safe;
    if (!ours) return false;
    last = beat.last_heartbeat;
    corrected = true;
    return true;
  }
};

namespace {

// One beat; how long to wait before the next.
Task<Millis> beat_once(Lease::Impl* lease, int failures) {
  const auto sent_at = Steady::now();
  auto beat = co_await within(
      lease->service.heartbeat(lease->environment, lease->work, lease->last, lease->bearer),
      lease->interval);
  if (beat && beat->accepted) {
    lease->accept(*beat, sent_at);
    co_return lease->interval;
  }
  if (beat) {
    if (lease->refused_by_ourselves(*beat)) co_return 0ms;
    lease->finish(Lease::End::lost, "another heartbeat than ours stands there");
    co_return 0ms;
  }
  if (beat.error().code == Code::cancelled) co_return std::move(beat.error());
  if (fatal(beat.error())) {
    lease->finish(Lease::End::rejected, beat.error().what);
    co_return 0ms;
  }
  lease->in_doubt = true;
  if (lease->since_ok() > lease->ttl)
    lease->finish(Lease::End::assumed_lost, str("no heartbeat got through: ", beat.error().what));
  else if (failures == 0)
    log::warn("lease.beat", {{"work", lease->work}, {"error", beat.error().what}});
  co_return std::min(doubled(lease->options.first_retry, failures, lease->interval),
                     lease->interval);
}

}  // namespace

Lease::Lease(Service& service, std::string environment, std::string work, Bearer bearer,
             LeaseOptions options, LeaseStart start)
    : impl_(new Impl{.service = service,
                     .environment = std::move(environment),
                     .work = std::move(work),
                     .bearer = std::move(bearer),
                     .options = options,
                     .last = start.last_heartbeat,
                     .ttl = start.ttl > 0ms ? start.ttl : options.assumed_ttl,
                     .interval = options.first_interval,
                     .last_ok = Steady::now() - start.age}) {
  impl_->inherited = start.last_heartbeat != "NO_HEARTBEAT";
  impl_->in_doubt = start.in_doubt;
}
Lease::~Lease() = default;

Task<void> Lease::run() {
  Impl& lease = *impl_;
  lease.tell_stopping = on_stopping;
  for (int failures = 0; lease.end == End::none;) {
    const Millis limit = lease.options.stall_limit;
    if (limit > 0ms && stalled_for && stalled_for() > limit) {
      lease.finish(End::stalled, "a tool call has been under way for too long");
      break;
    }
    if (lease.stopping && lease.left() == 0ms) {
      lease.finish(End::stopping, "what ran did not end in time");
      break;
    }
    const int accepted = lease.accepted;
    CO_TRY(wait, co_await beat_once(&lease, failures));
    const bool got_through = lease.accepted > accepted;
    failures = got_through ? 0 : failures + 1;
    if (got_through && on_beat) on_beat({lease.last, true, lease.since_ok(), lease.ttl});
    if (lease.stopping) wait = std::min(wait, lease.left());
    if (lease.end == End::none && wait > 0ms) CO_TRY_DO(co_await net::sleep(wait));
  }
  co_return ok;
}

Task<void> Lease::settled() {
  while (impl_->end == End::none && impl_->accepted == 0)
    CO_TRY_DO(co_await impl_->changed.wait(net::kForever));
  co_return ok;
}

bool Lease::held() const { return impl_->accepted > 0 && impl_->end == End::none; }
bool Lease::stopping() const { return impl_->stopping; }
Lease::End Lease::end() const { return impl_->end; }
const std::string& Lease::why() const { return impl_->why; }
Millis Lease::ttl() const { return impl_->ttl; }

std::string_view name(Lease::End end) {
  switch (end) {
    case Lease::End::none: return "none";
    case Lease::End::stopping: return "stopping";
    case Lease::End::rejected: return "rejected";
    case Lease::End::lost: return "lost";
    case Lease::End::assumed_lost: return "assumed_lost";
    case Lease::End::stalled: return "stalled";
  }
  return "?";
}

}  // namespace glovebox::runner

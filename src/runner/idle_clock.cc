#include "runner/idle_clock.h"

#include <utility>

namespace glovebox::runner {

bool IdleClock::neutral(const Event& event) {
  return event.kind == Event::Kind::confirmation || event.kind == Event::Kind::thread_terminated;
}

void IdleClock::note(const Event& event, Time now) {
  if (may_be_stale_ && event.kind == Event::Kind::thread_terminated) disarm();
  if (neutral(event)) return;
  may_be_stale_ = false;
  if (event.ends_turn)
    arm(now);
  else
    disarm();
}

void IdleClock::block(const std::string& call) {
  blockers_.insert(call);
  if (!deadline_) return;
  deadline_.reset();
  put_off_ = true;
}

void IdleClock::unblock(const std::string& call, Time now) {
  blockers_.erase(call);
  if (blockers_.empty() && put_off_) arm(now);
}

void IdleClock::abandon(const std::string& call, Time now) {
  if (may_be_stale_) disarm();
  unblock(call, now);
}

void IdleClock::arm(Time now) {
  if (max_idle_ <= 0ms) return;
  put_off_ = !blockers_.empty();
  deadline_.reset();
  if (!put_off_) deadline_ = now + max_idle_;
}

void IdleClock::disarm() {
  put_off_ = false;
  deadline_.reset();
}

}  // namespace glovebox::runner

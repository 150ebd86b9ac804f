// How long after the end of a turn a session is held: a countdown that only the end of a turn
// starts, and that never runs over a call that is held, queued or running.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>

#include "base/clock.h"
#include "runner/event.h"

namespace glovebox::runner {

class IdleClock {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit IdleClock(Millis max_idle) : max_idle_(max_idle) {}  // 0 or less: never runs out

  // The end of a turn arms, everything else disarms; but a confirmation and the end of a thread
  // leave it as it is.
  void note(const Event& event, Time now);
  static bool neutral(const Event& event);

  // From a failed reading of the history until one succeeds the countdown may come from an idle
  // that the session has since left; the end of a thread then disarms, too.
  void history_read(bool succeeded) { may_be_stale_ = !succeeded; }

  void block(const std::string& call);
  void unblock(const std::string& call, Time now);  // the last one starts what was put off, afresh
  void abandon(const std::string& call, Time now);  // it can no longer be answered

  void arm(Time now);
  void disarm();

  std::optional<Time> deadline() const { return deadline_; }  // nullopt: it does not run

 private:
  Millis max_idle_;
  std::set<std::string> blockers_;
  bool put_off_ = false;  // armed, but for the blockers
  bool may_be_stale_ = false;
  std::optional<Time> deadline_;
};

}  // namespace glovebox::runner

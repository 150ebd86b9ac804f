// Tells a SIGKILL of the kernel's for want of memory from anybody else's.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/fd.h"

namespace glovebox::hand {

class OomCounter {
 public:
  // The tenant's memory.events (version 2) or memory.oom_control (version 1); none: never says yes.
  explicit OomCounter(Fd events);
  // A process was killed by SIGKILL that nobody here sent. True: one of the kernel's kills, each of
  // which explains one.
  bool explains_kill(std::chrono::steady_clock::time_point now);

 private:
  std::uint64_t count() const;
  Fd events_;
  std::uint64_t seen_ = 0, unexplained_ = 0;
  std::chrono::steady_clock::time_point seen_at_{};
};

}  // namespace glovebox::hand

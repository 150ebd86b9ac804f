// A limit over several waits.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace glovebox::net {

class Deadline {
 public:
  explicit Deadline(Millis limit)
      : at_(limit < kYear ? Steady::now() + limit : Steady::time_point::max()) {}
  Millis left() const {  // never negative
    if (at_ == Steady::time_point::max()) return Millis::max();
    auto left = std::chrono::ceil<Millis>(at_ - Steady::now());
    return std::max(left, Millis(0));
  }

 private:
  using Steady = std::chrono::steady_clock;
  static constexpr Millis kYear = std::chrono::years(1);  // adding more to now() could overflow
  Steady::time_point at_;
};

}  // namespace glovebox::net

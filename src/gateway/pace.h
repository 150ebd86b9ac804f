// So many a second, and as many saved up as fit.
#pragma once

#include <algorithm>
#include <chrono>

namespace glovebox::gateway {

class Pace {
 public:
  using Steady = std::chrono::steady_clock;
  Pace(double per_second, double burst) : rate_(per_second), burst_(burst), tokens_(burst) {}
  bool take(Steady::time_point now = Steady::now()) {
    if (!has(now)) return false;
    tokens_ -= 1;
    return true;
  }
  void put_back() { tokens_ = std::min(burst_, tokens_ + 1); }
  bool has(Steady::time_point now = Steady::now()) {
    tokens_ =
        std::min(burst_, tokens_ + rate_ * std::chrono::duration<double>(now - last_).count());
    last_ = now;
    return tokens_ >= 1;
  }

 private:
  double rate_, burst_, tokens_;
  Steady::time_point last_ = Steady::now();
};

}  // namespace glovebox::gateway

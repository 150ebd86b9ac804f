// Time as the program sees it. Units are in the types; a fake Clock stands in for tests.
#pragma once

#include <chrono>
#include <cstdint>

namespace glovebox {

using Millis = std::chrono::milliseconds;
using Seconds = std::chrono::seconds;
using namespace std::chrono_literals;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::int64_t unix_ms() const = 0;                             // wall clock, for records
  virtual std::chrono::steady_clock::time_point monotonic() const = 0;  // for deadlines
};
Clock& system_clock();

}  // namespace glovebox

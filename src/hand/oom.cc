#include "hand/oom.h"

#include <algorithm>
#include <string_view>

#include "base/clock.h"
#include "base/str.h"

namespace glovebox::hand {
namespace {

// One kill may take several processes, which end one after the other; a later SIGKILL is somebody
// else's.
constexpr auto kMemory = 2s;

}  // namespace

OomCounter::OomCounter(Fd events) : events_(std::move(events)), seen_(count()) {}

bool OomCounter::explains_kill(std::chrono::steady_clock::time_point now) {
  std::uint64_t present = count();
  if (now - seen_at_ > kMemory) unexplained_ = 0;
  if (present > seen_) {
    unexplained_ += present - seen_;
    seen_at_ = now;
  }
  seen_ = present;
  if (unexplained_ == 0) return false;
  --unexplained_;
  return true;
}

std::uint64_t OomCounter::count() const {
  char text[1024];
  ssize_t n = events_ ? ::pread(events_.get(), text, sizeof text, 0) : -1;
  if (n < 0) return seen_;
  for (const auto& line : split({text, static_cast<std::size_t>(n)}, '\n'))
    if (line.starts_with("oom_kill "))
      return parse_int<std::uint64_t>(std::string_view(line).substr(9)).value_or(seen_);
  return seen_;
}

}  // namespace glovebox::hand

#include "cli/meter.h"

#include <unistd.h>

#include <algorithm>

#include "cli/output.h"

namespace glovebox::cli {

namespace {
using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kPatience{1000}, kPause{100};
constexpr std::size_t kBar = 30;
}  // namespace

Meter::Meter(std::string what, std::uint64_t whole)
    : what_(std::move(what)),
      whole_(whole),
      on_(::isatty(STDERR_FILENO) == 1),
      begun_(Clock::now()) {}

void Meter::begin(std::string what, std::uint64_t whole) {
  end();
  what_ = std::move(what);
  whole_ = whole;
  done_ = 0;
  begun_ = Clock::now();
}

void Meter::show(std::uint64_t done) {
  const auto now = Clock::now();
  if (!on_ || now - begun_ < kPatience || now - last_ < kPause) return;
  last_ = now;
  shown_ = true;
  std::string line = str("\r\x1b[K", printable(what_), "  ");
  if (whole_ > 0) {
    std::size_t filled = std::min<std::size_t>(kBar, done * kBar / whole_);
    line += str('[', std::string(filled, '#'), std::string(kBar - filled, ' '), "]  ");
  }
  line += human_bytes(done);
  if (whole_ > 0) line += " of " + human_bytes(whole_);
  const double seconds = std::chrono::duration<double>(now - begun_).count();
  line +=
      str("  ", human_bytes(static_cast<std::uint64_t>(static_cast<double>(done) / seconds)), "/s");
  (void)write_fd(STDERR_FILENO, line);
}

void Meter::end() {
  if (std::exchange(shown_, false)) (void)write_fd(STDERR_FILENO, "\r\x1b[K");
}

}  // namespace glovebox::cli

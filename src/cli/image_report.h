// How far something long has come, for people: one line on a terminal's stderr, rewritten in place.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace glovebox::cli {

class Meter {
 public:
  // `whole`: bytes, 0 where nobody knows.
  Meter(std::string what, std::uint64_t whole);
  ~Meter() { end(); }
  void begin(std::string what, std::uint64_t whole);  // the next part of the same
  void show(std::uint64_t done);
  void end();  // the line is the terminal's again

 private:
  std::string what_;
  std::uint64_t whole_;
  bool on_, shown_ = false;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace glovebox::cli

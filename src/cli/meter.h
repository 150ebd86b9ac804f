// How far something long has come, for people: one line on a terminal's stderr, rewritten in place.
// What is over within a second is not worth one.
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
  void begin(std::string what, std::uint64_t whole);    // the next part of the same
  void expect(std::uint64_t whole) { whole_ = whole; }  // it is known only now
  void show(std::uint64_t done);
  void add(std::uint64_t more) { show(done_ += more); }
  void end();  // the line is the terminal's again

 private:
  std::string what_;
  std::uint64_t whole_, done_ = 0;
  bool on_, shown_ = false;
  std::chrono::steady_clock::time_point begun_, last_{};
};

}  // namespace glovebox::cli

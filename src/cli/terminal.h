// The terminal we were started on.
#pragma once

#include <cstdint>
#include <memory>

#include "base/error.h"

namespace glovebox::cli {

struct TerminalSize {
  std::uint16_t rows = 24, cols = 80;
};
TerminalSize terminal_size(int fd);

// Raw mode for as long as it lives: every key goes to the other side, Ctrl-C too. What the terminal
// was comes back when it is dropped, and when the program crashes.
class RawTerminal {
 public:
  static Result<std::unique_ptr<RawTerminal>> enter(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  void again();  // after having been stopped and continued: the shell put its own mode back

 private:
  explicit RawTerminal(int fd);
  int fd_;
};

}  // namespace glovebox::cli

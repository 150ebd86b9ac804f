// The messages of `GET /api/v1/exec/ws`: one process, its streams both ways, losslessly.
//
// The client's first message is text: the JSON of POST /processes plus pty, rows, cols and timeout.
// Then binary messages, each an opcode byte and its payload; numbers are big-endian.
//   to the server   0x00 stdin bytes    0x01 resize (u16 cols, u16 rows)   0x04 end of stdin   0x05
//   signal (u8) to the client   0x00 stdout bytes   0x01 stderr bytes                  0x02 started
//   (u32 pid)
//                   0x03 exit (JSON)    0x06 gap (u64 from, u64 to): output that was lost
// After the exit the server closes with 1000.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"

namespace glovebox::cli {

std::string stdin_frame(std::string_view bytes);
std::string resize_frame(std::uint16_t cols, std::uint16_t rows);
std::string stdin_end_frame();
std::string signal_frame(int number);

struct StdoutBytes {
  std::string bytes;
};
struct StderrBytes {
  std::string bytes;
};
struct Started {
  std::uint32_t pid = 0;
};
struct Exited {
  int exit_code = 0;
  int signal = 0;  // not 0: ended by it
  bool oom_killed = false, timed_out = false;
  int shell_code() const { return signal ? 128 + signal : exit_code; }
};
struct Gap {
  std::uint64_t from = 0, to = 0;
};
using ExecEvent = std::variant<StdoutBytes, StderrBytes, Started, Exited, Gap>;
Result<ExecEvent> decode_exec_event(std::string message);

}  // namespace glovebox::cli

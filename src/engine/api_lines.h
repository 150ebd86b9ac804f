// Output as the API shows it: lines of text, cut out of the pieces of two streams.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/hand_link.h"

namespace glovebox::engine {

struct Line {
  std::string text;  // valid UTF-8, without the newline
  std::int64_t unix_ms = 0;
  std::uint8_t stream = 0;  // 0: of a gap, which is in no stream
  std::uint64_t gap = 0;    // bytes missing here; `text` says so for people
  // Where it was in the process's output, and when its last byte came. Ends grow from line to line;
  // begins need not: the other stream's line may have been whole before.
  std::uint64_t begin = 0, end = 0;
  std::int64_t whole_ms = 0;
};

class LineCutter {
 public:
  static constexpr std::size_t kMaxLine = 1 << 20;  // a longer one comes in parts

  void add(const OutputEvent& output, std::vector<Line>& out);
  // Ends the lines that were under way: what follows is not their rest.
  void add(const GapEvent& gap, std::vector<Line>& out);
  void end(std::vector<Line>& out);  // a last line without a newline counts
  std::uint64_t resume_at() const;   // who reads on from here gets every line not yet cut

 private:
  struct Partial {
    std::string text;
    std::int64_t unix_ms = 0;  // of its first piece
    std::uint64_t begin = 0;
  };
  Partial& partial(std::uint8_t stream) { return partial_[stream == wire::kStderr]; }
  void flush(std::uint8_t stream, std::size_t bytes, std::vector<Line>& out);
  std::array<Partial, 2> partial_;
  std::int64_t last_ms_ = 0;
  std::uint64_t at_ = 0;  // the offset up to which all was looked at
};

// {"line":…,"timestamp":…,"stream":"stdout"} and, of a gap, "gap": bytes.
std::string encode_line(const Line& line, bool with_stream);
// {"exit_code":N} or {"signal":N}, and what was special about it.
std::string encode_exit(const wire::ProcessInfo& info);

}  // namespace glovebox::engine

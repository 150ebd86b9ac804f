// Output as the API shows it: lines of text, cut out of the pieces of two streams.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/hand_link.h"

namespace glovebox::engine {

struct Line {
  std::string text;  // valid UTF-8, without the newline
  std::int64_t unix_ms = 0;
  std::uint8_t stream = 0;  // 0: of a gap, which is in no stream
  std::uint64_t gap = 0;    // bytes missing here; `text` says so for people
  bool goes_on = false;     // a part: the rest of the line follows, in the same stream
  // Where it was in the process's output, and when its last byte came. Ends grow from line to line;
  // begins need not: the other stream's line may have been whole before.
  std::uint64_t begin = 0, end = 0;
  std::int64_t whole_ms = 0;
};

class LineCutter {
 public:
  static constexpr std::size_t kMaxLine = 1 << 20;  // a longer one comes in parts that say so

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
  void flush(std::uint8_t stream, std::size_t bytes, std::vector<Line>& out, bool goes_on = false);
  std::array<Partial, 2> partial_;
  std::int64_t last_ms_ = 0;
  std::uint64_t at_ = 0;  // the offset up to which all was looked at
};

// How lines look on a stream of events.
struct LineFormat {
  std::string event;          // name of the event; empty: none
  bool with_stream = false;   // each line says which stream it is of
  std::uint8_t only = kBoth;  // lines of this stream; gaps are in all
  static constexpr std::uint8_t kBoth = 0;
};

// Lines as events, one each: {"line":…,"timestamp":…,"stream":"stdout"} and, of a gap, "gap":
// bytes. A client puts newlines between events, so a line that comes in parts must be one event
// nonetheless: it is sent as the parts come, and costs no more memory than one of them. What the
// other stream says meanwhile waits for its end, in at most kMaxLine bytes of memory; then the
// event is ended early.
class LineEvents {
 public:
  explicit LineEvents(LineFormat format) : format_(std::move(format)) {}
  std::string encode(std::vector<Line> lines);
  bool in_event() const { return open_ != kNone; }  // no comment may be sent now

 private:
  static constexpr std::uint8_t kNone = 0;
  void put(Line line, std::string& out);
  void end_event(std::string& out);
  const LineFormat format_;
  std::uint8_t open_ = kNone;  // the stream whose line is being sent
  std::vector<Line> waiting_;
  std::size_t waiting_bytes_ = 0;  // of memory, not of text alone
};

// {"exit_code":N} or {"signal":N}, and what was special about it.
std::string encode_exit(const wire::ProcessInfo& info);

}  // namespace glovebox::engine

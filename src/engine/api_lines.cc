#include "engine/api_lines.h"

#include <algorithm>

namespace glovebox::engine {

// At most `limit`, and less where that would cut a character of UTF-8 in two.
static std::size_t whole_characters(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text.size();
  std::size_t end = limit;
  auto continues = [&](std::size_t at) {
    return (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
  };
  while (end > limit - 3 && continues(end)) --end;
  return continues(end) ? limit : end;  // no text at all: any place is as good
}

void LineCutter::flush(std::uint8_t stream, std::size_t bytes, std::vector<Line>& out,
                       bool goes_on) {
  Partial& line = partial(stream);
  out.push_back({valid_utf8(std::string_view(line.text).substr(0, bytes)), line.unix_ms, stream, 0,
                 goes_on, line.begin, at_, last_ms_});
  line.text.erase(0, bytes);
  line.begin = at_;
}

void LineCutter::add(const OutputEvent& output, std::vector<Line>& out) {
  Partial& line = partial(output.stream);
  last_ms_ = output.unix_ms;
  for (std::string_view rest = output.bytes; !rest.empty();) {
    at_ = output.offset + (output.bytes.size() - rest.size());
    if (line.text.empty()) line.unix_ms = output.unix_ms, line.begin = at_;
    const std::size_t newline = rest.find('\n');
    line.text += rest.substr(0, newline);
    at_ += newline == rest.npos ? rest.size() : newline + 1;
    while (line.text.size() > kMaxLine)
      flush(output.stream, whole_characters(line.text, kMaxLine), out, true);
    if (newline == rest.npos) break;
    flush(output.stream, line.text.size(), out);
    rest.remove_prefix(newline + 1);
  }
}

void LineCutter::add(const GapEvent& gap, std::vector<Line>& out) {
  end(out);
  const std::uint64_t bytes = gap.to - gap.from;
  at_ = gap.to;
  out.push_back({str("[… ", bytes, " bytes of output are missing …]"), last_ms_, 0, bytes, false,
                 gap.from, gap.to, last_ms_});
}

void LineCutter::end(std::vector<Line>& out) {
  for (std::uint8_t stream : {wire::kStdout, wire::kStderr})
    if (!partial(stream).text.empty()) flush(stream, partial(stream).text.size(), out);
}

std::uint64_t LineCutter::resume_at() const {
  std::uint64_t at = at_;
  for (const Partial& line : partial_)
    if (!line.text.empty()) at = std::min(at, line.begin);
  return at;
}

std::string LineEvents::encode(std::vector<Line> lines) {
  std::string out;
  for (Line& line : lines)
    if (format_.only == LineFormat::kBoth || line.stream == format_.only || line.gap)
      put(std::move(line), out);
  return out;
}

void LineEvents::put(Line line, std::string& out) {
  if (in_event() && line.stream != open_) {
    waiting_bytes_ += sizeof(Line) + line.text.size();  // an empty line costs memory as well
    waiting_.push_back(std::move(line));
    if (waiting_bytes_ > LineCutter::kMaxLine) end_event(out);
    return;
  }
  if (!in_event()) {
    if (!format_.event.empty()) out += str("event: ", format_.event, '\n');
    out += str(R"(data: {"timestamp":)", line.unix_ms);
    if (format_.with_stream && line.stream)
      out += line.stream == wire::kStderr ? R"(,"stream":"stderr")" : R"(,"stream":"stdout")";
    if (line.gap) out += str(R"(,"gap":)", line.gap);
    out += R"(,"line":")";
    open_ = line.stream;
  }
  out += json_escape(line.text);
  if (!line.goes_on) end_event(out);
}

void LineEvents::end_event(std::string& out) {
  out += "\"}\n\n";
  open_ = kNone;
  waiting_bytes_ = 0;
  for (Line& line : std::exchange(waiting_, {})) put(std::move(line), out);
}

std::string encode_exit(const wire::ProcessInfo& info) {
  std::string out = info.status == wire::Status::exited ? str(R"({"exit_code":)", info.exit_code)
                                                        : str(R"({"signal":)", info.signal);
  if (info.status == wire::Status::oom_killed) out += R"(,"oom_killed":true)";
  if (info.timed_out) out += R"(,"timed_out":true)";
  return out += '}';
}

}  // namespace glovebox::engine

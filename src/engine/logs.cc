#include "engine/logs.h"

#include <algorithm>

#include "net/task.h"

namespace glovebox::engine {

namespace {

constexpr Millis kReadLimit{30'000};  // for output that the hand has already

// Programs; terminals speak in pictures, files and tools to somebody who listens.
bool speaks(const wire::ProcessInfo& info) { return info.kind == wire::Kind::exec && !info.pty; }

struct Said {
  std::vector<Line> lines;
  std::uint64_t resume_at = 0;
};

// Up to where it was when we asked: a process that goes on writing must not keep us. The last line
// of one that runs is not whole before its newline.
Task<Said> read_process(std::shared_ptr<HandLink> hand, std::uint64_t handle, std::uint64_t from) {
  CO_TRY(attachment, co_await hand->attach(handle, false, from));
  const wire::ProcessInfo info = attachment->info();
  LineCutter cutter;
  Said said;
  for (std::uint64_t at = from; at < info.output_end;) {
    CO_TRY(event, co_await attachment->next(kReadLimit));
    if (auto* output = std::get_if<OutputEvent>(&event)) {
      cutter.add(*output, said.lines);
      at = output->offset + output->bytes.size();
    } else if (auto* gap = std::get_if<GapEvent>(&event)) {
      cutter.add(*gap, said.lines);
      at = gap->to;
    } else {
      break;
    }
  }
  if (info.status != wire::Status::running) cutter.end(said.lines);
  // A clock that was set back must not make the order within a process another one.
  for (std::size_t i = 1; i < said.lines.size(); ++i)
    said.lines[i].whole_ms = std::max(said.lines[i].whole_ms, said.lines[i - 1].whole_ms);
  said.resume_at = said.lines.empty() && info.output_end == from ? from : cutter.resume_at();
  co_return said;
}

bool before(const LogLine& a, const LogLine& b) {
  if (a.line.whole_ms != b.line.whole_ms) return a.line.whole_ms < b.line.whole_ms;
  return a.handle != b.handle ? a.handle < b.handle : a.line.end < b.line.end;
}

bool wanted(const LogQuery& query, const Line& line) {
  if (line.gap) return query.containing.empty();
  if (line.stream == wire::kStderr ? !query.with_stderr : !query.with_stdout) return false;
  return line.text.find(query.containing) != std::string::npos;
}

// Adds them in their order and keeps as many as are asked for. What falls out at the end is told by
// where the reader has to go on.
void merge(LogPage& page, std::vector<LogLine> lines, const LogQuery& query) {
  std::vector<LogLine> merged;
  merged.reserve(page.lines.size() + lines.size());
  std::ranges::merge(page.lines, lines, std::back_inserter(merged), before);
  if (merged.size() > query.limit && query.last) {
    merged.erase(merged.begin(), merged.end() - static_cast<std::ptrdiff_t>(query.limit));
  } else if (merged.size() > query.limit) {
    for (std::size_t i = query.limit; i < merged.size(); ++i) {
      LogPosition& position = page.reached[merged[i].handle];
      const Line& line = merged[i].line;
      position.read_from = std::min(position.read_from, line.begin);
      // Its own line before is shown, and ends before this one begins to be missed.
      position.shown_to = std::min(position.shown_to, line.end - 1);
      page.more = true;
    }
    merged.resize(query.limit);
  }
  page.lines = std::move(merged);
}

}  // namespace

std::string encode_positions(const LogPositions& positions) {
  std::string out = "v1";
  for (const auto& [handle, position] : positions)
    out += str('-', handle, '.', position.read_from, '.', position.shown_to);
  return out;
}

Result<LogPositions> decode_positions(std::string_view token) {
  const Error wrong{Code::invalid, "nextToken: is none of ours"};
  LogPositions positions;
  auto parts = split(token, '-');
  if (parts.empty() || parts[0] != "v1" || parts.size() > wire::kMaxProcesses + 1) return wrong;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    auto numbers = split(parts[i], '.');
    if (numbers.size() != 3) return wrong;
    auto handle = parse_int<std::uint64_t>(numbers[0]), from = parse_int<std::uint64_t>(numbers[1]),
         shown = parse_int<std::uint64_t>(numbers[2]);
    if (!handle || !from || !shown) return wrong;
    positions[*handle] = {*from, *shown};
  }
  return positions;
}

Task<LogPage> read_logs(std::shared_ptr<HandLink> hand, LogQuery query) {
  LogPage page;
  CO_TRY(infos, co_await hand->list());
  for (wire::ProcessInfo& info : infos) {
    if (!speaks(info)) continue;
    const std::uint64_t handle = info.handle;
    LogPosition position;
    if (auto at = query.from.find(handle); at != query.from.end()) position = at->second;
    // Handles count from 1 again in a sandbox that was started again: this is another process.
    if (position.read_from > info.output_end || position.shown_to > info.output_end) position = {};
    const bool asked =
        query.handles.empty() || std::ranges::find(query.handles, handle) != query.handles.end();
    page.reached[handle] = position;
    const bool ended = info.status != wire::Status::running;
    page.processes[handle] = info;
    if (!asked || position.shown_to == info.output_end || (info.output_end == 0 && !ended))
      continue;
    auto said = co_await read_process(hand, handle, position.read_from);
    if (!said && said.error().code == Code::not_found) continue;  // forgotten meanwhile
    if (!said) co_return std::move(said.error());
    std::vector<LogLine> lines;
    for (Line& line : said->lines) {
      if (line.end <= position.shown_to) continue;
      page.reached[handle].shown_to = line.end;
      if (wanted(query, line)) lines.push_back({handle, std::move(line)});
    }
    page.reached[handle].read_from = said->resume_at;
    if (query.last && lines.size() > query.limit)
      lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(query.limit));
    merge(page, std::move(lines), query);
  }
  co_return page;
}

Task<std::vector<LogCount>> count_logs(std::shared_ptr<HandLink> hand) {
  std::vector<LogCount> counts;
  CO_TRY(infos, co_await hand->list());
  for (wire::ProcessInfo& info : infos) {
    if (!speaks(info)) continue;
    LogCount count{std::move(info), 0, 0};
    auto said = co_await read_process(hand, count.info.handle, 0);
    if (!said && said.error().code == Code::not_found) continue;
    if (!said) co_return std::move(said.error());
    count.lines = said->lines.size();
    if (!said->lines.empty()) count.last_ms = said->lines.back().whole_ms;
    counts.push_back(std::move(count));
  }
  co_return counts;
}

}  // namespace glovebox::engine

// What the processes of a sandbox said, of all of them together: cut into lines, in the order they
// came, a page at a time. It is read from what the hand keeps, so it goes with the sandbox, and of
// each process the last part is there.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api_lines.h"
#include "engine/hand_link.h"

namespace glovebox::engine {

// How far a reader has come with each process, as text for the client to bring back.
struct LogPosition {
  std::uint64_t read_from = 0;  // to read on here
  std::uint64_t shown_to = 0;   // lines that end here or before were shown
};
using LogPositions = std::map<std::uint64_t, LogPosition>;  // by handle
std::string encode_positions(const LogPositions& positions);
Result<LogPositions> decode_positions(std::string_view token);

struct LogLine {
  std::uint64_t handle = 0;
  Line line;
};

struct LogQuery {
  std::size_t limit = 1000;
  bool last = false;  // the last `limit` lines there are, and not the next ones
  LogPositions from;
  std::vector<std::uint64_t> handles;  // empty: of all
  bool with_stdout = true, with_stderr = true;
  std::string containing;
};

struct LogPage {
  std::vector<LogLine> lines;
  std::map<std::uint64_t, wire::ProcessInfo> processes;
  bool more = false;     // there are lines behind these already
  LogPositions reached;  // to go on with, now or when more was said
};
Task<LogPage> read_logs(std::shared_ptr<HandLink> hand, LogQuery query);

struct LogCount {
  wire::ProcessInfo info;
  std::size_t lines = 0;
  std::int64_t last_ms = 0;
};
Task<std::vector<LogCount>> count_logs(std::shared_ptr<HandLink> hand);

}  // namespace glovebox::engine

#include "cli/exec_frames.h"

#include <boost/json.hpp>

namespace glovebox::cli {

namespace json = boost::json;

namespace {

Error malformed(std::string_view what) {
  return Error{Code::internal, str("the engine sent a malformed message (", what, ")")};
}

std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

std::string big_endian(std::uint16_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

Result<ExecEvent> decode_exit(std::string_view text) {
  boost::system::error_code wrong;
  json::value value = json::parse(text, wrong);
  if (wrong || !value.is_object()) return malformed("exit");
  const json::object& object = value.as_object();
  auto number = [&](std::string_view name) -> int {
    const json::value* member = object.if_contains(name);
    return member && member->is_int64() ? static_cast<int>(member->as_int64()) : 0;
  };
  auto truth = [&](std::string_view name) {
    const json::value* member = object.if_contains(name);
    return member && member->is_bool() && member->as_bool();
  };
  if (!object.contains("exit_code") && !object.contains("signal")) return malformed("exit");
  return Exited{number("exit_code"), number("signal"), truth("oom_killed"), truth("timed_out")};
}

}  // namespace

std::string stdin_frame(std::string_view bytes) { return str('\0', bytes); }
std::string resize_frame(std::uint16_t cols, std::uint16_t rows) {
  return str('\1', big_endian(cols), big_endian(rows));
}
std::string stdin_end_frame() { return "\4"; }
std::string signal_frame(int number) { return str('\5', static_cast<char>(number)); }

Result<ExecEvent> decode_exec_event(std::string message) {
  if (message.empty()) return malformed("empty");
  auto opcode = static_cast<unsigned char>(message[0]);
  std::string_view payload = std::string_view(message).substr(1);
  switch (opcode) {
    case 0: return StdoutBytes{std::string(payload)};
    case 1: return StderrBytes{std::string(payload)};
    case 2:
      if (payload.size() != 4) return malformed("started");
      return Started{static_cast<std::uint32_t>(big_endian(payload))};
    case 3: return decode_exit(payload);
    case 6:
      if (payload.size() != 16) return malformed("gap");
      return Gap{big_endian(payload.substr(0, 8)), big_endian(payload.substr(8))};
    default: return malformed(str("opcode ", int{opcode}));
  }
}

}  // namespace glovebox::cli

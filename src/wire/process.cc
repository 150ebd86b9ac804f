// The data plane's JSON: processes, terminals, tool results.
#include <algorithm>

#include "base/characters.h"
#include "wire/decode.h"
#include "wire/managed_json.h"
#include "wire/sandbox.h"

namespace glovebox::wire {

namespace json = boost::json;

namespace {

// The kernel's own limit of one argument or variable; the whole start must fit a frame
// (kMaxPayload) besides.
constexpr std::size_t kArgBytes = 128 * 1024 - 1;
constexpr std::size_t kArgs = 4096;
constexpr std::size_t kPathBytes = 4095;
constexpr double kMaxTimeoutSecs = 30 * 86400;
constexpr std::int64_t kMaxRows = 500, kMaxCols = 1000;

Result<void> decode_command(Members& members, StartSpec& spec) {
  TRY(command, members.text("command", kArgBytes));
  if (!command || command->empty())
    return members.wrong("command", "must be a string that is not empty");
  TRY(args, members.texts("args", kArgs, kArgBytes));
  spec.argv.push_back(std::move(*command));
  if (args) std::ranges::move(*args, std::back_inserter(spec.argv));
  return ok;
}

Result<void> decode_env(Members& members, StartSpec& spec) {
  const json::value* env = members.take("env");
  if (!env) return ok;
  if (!env->is_object()) return members.wrong("env", "must be an object of strings");
  if (env->get_object().size() > kArgs)
    return members.wrong("env", str("has more than ", kArgs, " entries"));
  for (const auto& [key, value] : env->get_object()) {
    std::string_view name = key;
    if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != name.npos)
      return members.wrong("env", "a variable's name must not be empty or hold `=` or NUL");
    if (!value.is_string()) return members.wrong("env", str(name, " must be a string"));
    std::string_view text = value.get_string();
    if (text.find('\0') != text.npos)
      return members.wrong("env", str(name, " must not hold a NUL character"));
    if (name.size() + text.size() > kArgBytes)
      return members.wrong("env", str(name, " is longer than ", kArgBytes, " bytes"));
    spec.env.push_back(str(name, '=', text));
  }
  return ok;
}

Result<void> decode_user(Members& members, StartSpec& spec) {
  constexpr std::int64_t kMaxId = 65535;  // what a box has
  constexpr std::size_t kUserBytes = 64;
  const json::value* value = members.take("user");
  if (!value) return ok;
  std::string user;
  if (value->is_string()) {
    user = std::string_view(value->get_string());
  } else if (value->is_object()) {
    TRY(parts, Members::of(*value, "user"));
    TRY(name, parts.text("name", kUserBytes));
    TRY(uid, parts.integer("uid", 0, kMaxId));
    TRY(gid, parts.integer("gid", 0, kMaxId));
    parts.done();
    if (name.has_value() == uid.has_value() || (gid && !uid))
      return members.wrong("user", "must have either name, or uid and perhaps gid");
    user = name ? *name : gid ? str(*uid, ':', *gid) : str(*uid);
  }
  constexpr std::string_view kSigns = "._-:$";
  bool plain =
      !user.empty() && user.size() <= kUserBytes && std::ranges::all_of(user, [&](unsigned char c) {
        return std::isalnum(c) || kSigns.find(static_cast<char>(c)) != kSigns.npos;
      });
  if (!plain)
    return members.wrong("user", "must be a name, a uid, \"uid:gid\", or an object of these");
  spec.user = std::move(user);
  return ok;
}

Result<void> decode_cwd(Members& members, StartSpec& spec) {
  TRY(cwd, members.text("working_dir", kPathBytes));
  spec.cwd = cwd.value_or("");
  return ok;
}

// One of two words; `second` is true for the second.
Result<bool> decode_word(Members& members, std::string_view key, std::string_view first,
                         std::string_view second, bool otherwise) {
  TRY(word, members.text(key, 32));
  if (!word) return otherwise;
  if (*word != first && *word != second)
    return members.wrong(key, str("must be ", first, " or ", second));
  return *word == second;
}

Result<void> decode_size(Members& members, StartSpec& spec) {
  TRY(rows, members.integer("rows", INT32_MIN, INT32_MAX));
  TRY(cols, members.integer("cols", INT32_MIN, INT32_MAX));
  if (rows) spec.rows = static_cast<std::uint32_t>(std::clamp<std::int64_t>(*rows, 1, kMaxRows));
  if (cols) spec.cols = static_cast<std::uint32_t>(std::clamp<std::int64_t>(*cols, 1, kMaxCols));
  return ok;
}

Result<StartProcess> decode_start_members(Members& members, bool stdin_by_default) {
  StartProcess start;
  StartSpec& spec = start.spec;
  TRY_DO(decode_command(members, spec));
  TRY_DO(decode_env(members, spec));
  TRY_DO(decode_user(members, spec));
  TRY_DO(decode_cwd(members, spec));
  TRY(pipe, decode_word(members, "stdin_mode", "closed", "pipe", stdin_by_default));
  TRY(no_out, decode_word(members, "stdout_mode", "capture", "discard", false));
  TRY(no_err, decode_word(members, "stderr_mode", "capture", "discard", false));
  TRY(timeout, members.number("timeout", 0, kMaxTimeoutSecs));
  TRY(managed, take_managed(members));
  spec.stdin_mode = pipe ? StdinMode::pipe : StdinMode::closed;
  spec.stdout_mode = no_out ? OutputMode::discard : OutputMode::capture;
  spec.stderr_mode = no_err ? OutputMode::discard : OutputMode::capture;
  start.timeout = timeout.value_or(0);
  if (start.timeout > 0)  // a millisecond at least: 0 means none
    spec.timeout_ms = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(start.timeout * 1000));
  start.managed = std::move(managed);
  return start;
}

}  // namespace

Result<StartProcess> decode_process_start(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  TRY(start, decode_start_members(members, false));
  members.done();
  return start;
}

Result<StartProcess> decode_exec(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  TRY(start, decode_start_members(members, true));
  TRY(pty, members.flag("pty"));
  TRY(log, members.flag("log"));
  TRY_DO(decode_size(members, start.spec));
  members.done();
  if (!log.value_or(true)) start.spec.attach = Attach::alone;
  start.spec.pty = pty.value_or(false);
  if (start.spec.pty) start.spec.stdin_mode = StdinMode::pipe;
  return start;
}

Result<StartPty> decode_pty(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  StartPty pty;
  TRY_DO(decode_command(members, pty.spec));
  TRY_DO(decode_env(members, pty.spec));
  TRY_DO(decode_user(members, pty.spec));
  TRY_DO(decode_cwd(members, pty.spec));
  TRY_DO(decode_size(members, pty.spec));
  members.done();
  pty.spec.pty = true;
  pty.spec.stdin_mode = StdinMode::pipe;
  return pty;
}

Result<std::pair<std::uint32_t, std::uint32_t>> decode_resize(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  for (auto key : {"rows", "cols"})
    if (!members.raw().contains(key)) return members.wrong(key, "is missing");
  StartSpec size;
  TRY_DO(decode_size(members, size));
  members.done();
  return std::pair(size.rows, size.cols);
}

Result<int> decode_signal(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  TRY(number, members.integer("signal", 1, 64));
  if (!number) return members.wrong("signal", "is missing");
  members.done();
  return static_cast<int>(*number);
}

static json::object process_json(const ProcessInfo& info) {
  json::array args;  // the names of what runs come from inside: any bytes
  for (std::size_t i = 1; i < info.argv.size(); ++i) args.emplace_back(valid_utf8(info.argv[i]));
  json::object out{{"handle", info.handle},
                   {"pid", info.pid},
                   {"status", name(info.status)},
                   {"oom_killed", info.status == Status::oom_killed},
                   {"stdin_writable", info.stdin_writable},
                   {"command", info.argv.empty() ? std::string() : valid_utf8(info.argv[0])},
                   {"args", std::move(args)},
                   {"started_at", info.started_ms}};
  if (info.status == Status::exited) out["exit_code"] = info.exit_code;
  if (info.status == Status::signaled || info.status == Status::oom_killed)
    out["signal"] = info.signal;
  if (info.status != Status::running) out["ended_at"] = info.ended_ms;
  if (info.timed_out) out["timed_out"] = true;
  return out;
}

static json::object process_json(const ProcessInfo& info, const Managed* managed) {
  json::object out = process_json(info);
  if (managed) out["managed"] = managed_json(*managed);
  return out;
}

std::string encode_process(const ProcessInfo& info, const Managed* managed) {
  return json::serialize(process_json(info, managed));
}

std::string encode_processes(const std::vector<ProcessEntry>& entries) {
  json::array list;
  for (const auto& [info, managed] : entries)
    list.push_back(process_json(info, managed ? &*managed : nullptr));
  return json::serialize(json::object{{"processes", std::move(list)}});
}

std::string pty_session_id(std::uint64_t handle) { return str("pty-", handle); }

std::optional<std::uint64_t> pty_handle(std::string_view session_id) {
  constexpr std::string_view kPrefix = "pty-";
  if (!session_id.starts_with(kPrefix)) return std::nullopt;
  auto handle = parse_int<std::uint64_t>(session_id.substr(kPrefix.size()));
  if (!handle || *handle == 0 || *handle >= kByPid) return std::nullopt;
  return handle;
}

static json::object pty_json(const ProcessInfo& info) {
  json::object process = process_json(info);
  json::object out{{"session_id", pty_session_id(info.handle)},
                   {"pid", info.pid},
                   {"command", process["command"]},
                   {"args", process["args"]},
                   {"rows", info.rows},
                   {"cols", info.cols},
                   {"created_at", info.started_ms},
                   {"is_alive", info.status == Status::running}};
  if (info.status == Status::running) return out;
  out["ended_at"] = info.ended_ms;
  // A terminal has one number for its end; a death by signal is below zero.
  out["exit_code"] =
      info.status == Status::exited ? info.exit_code : -static_cast<std::int64_t>(info.signal);
  return out;
}

std::string encode_pty_created(const ProcessInfo& info, std::string_view token) {
  return json::serialize(
      json::object{{"session_id", pty_session_id(info.handle)}, {"token", token}});
}
std::string encode_pty(const ProcessInfo& info) { return json::serialize(pty_json(info)); }
std::string encode_ptys(const std::vector<ProcessInfo>& infos) {
  json::array list;
  for (const ProcessInfo& info : infos) list.push_back(pty_json(info));
  return json::serialize(json::object{{"sessions", std::move(list)}});
}

std::string encode_tool_result(const ToolCall& call) {
  return json::serialize(
      json::object{{"content", valid_utf8(call.content)}, {"is_error", call.is_error}});
}

Result<void> check_tool_input(std::string_view text) {
  // The tools take half a surrogate pair for U+FFFD; most inputs have none and are read once.
  auto read = parse_json(text);
  if (!read) read = parse_json(whole_characters(text));
  TRY(value, std::move(read));
  TRY_DO(Members::of(value));
  return ok;
}

Result<ToolCall> decode_tool_result(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  // Not Members::text: what a tool shows may hold NUL characters.
  const json::value* content = members.take("content");
  if (!content || !content->is_string()) return members.wrong("content", "must be a string");
  TRY(is_error, members.flag("is_error"));
  return ToolCall{std::string(std::string_view(content->get_string())), is_error.value_or(false)};
}

}  // namespace glovebox::wire

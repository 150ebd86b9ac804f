#include "wire/hand.h"

#include <algorithm>
#include <limits>

#include "wire/bytes.h"

namespace glovebox::wire {
namespace {

constexpr std::size_t kMaxArguments = 8192;     // of argv, and of env
constexpr std::size_t kMaxPath = 4096;          // cwd
constexpr std::size_t kMaxUser = 256;           // "name" or "uid:gid"
constexpr std::size_t kMaxTag = 128;            // of an error
constexpr std::size_t kMaxWhat = 16 * 1024;     // of an error
constexpr std::size_t kMaxWord = 64;            // nonce, version
constexpr std::size_t kKeepBuffer = 16 * 1024;  // what a FrameReader holds on to between frames
constexpr std::uint32_t kMaxTerminal = 0xffff;  // rows or columns, as the kernel counts them

bool legal(Type type, FrameReader::From from) {
  auto number = static_cast<unsigned>(type);
  return from == FrameReader::From::engine ? number >= 1 && number <= 14
                                           : number >= 64 && number <= 73;
}

std::uint32_t u32_at(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

template <class E>
Result<E> read_enum(Reader& in, E last) {
  TRY(value, in.u8());
  if (value > static_cast<std::uint8_t>(last))
    return Error{Code::invalid, str("no such value: ", value)};
  return static_cast<E>(value);
}

Result<bool> read_bool(Reader& in) {
  TRY(value, in.u8());
  if (value > 1) return Error{Code::invalid, str("neither 0 nor 1: ", value)};
  return value == 1;
}

// What execve would cut short silently is refused loudly.
bool has_nul(std::string_view text) { return text.find('\0') != text.npos; }
bool has_nul(const std::vector<std::string>& list) {
  return std::ranges::any_of(list, [](const std::string& item) { return has_nul(item); });
}

}  // namespace

std::string_view name(Type type) {
  switch (type) {
    case Type::hello: return "hello";
    case Type::start: return "start";
    case Type::attach: return "attach";
    case Type::detach: return "detach";
    case Type::ack: return "ack";
    case Type::input: return "input";
    case Type::input_end: return "input_end";
    case Type::signal: return "signal";
    case Type::resize: return "resize";
    case Type::list: return "list";
    case Type::get: return "get";
    case Type::forget: return "forget";
    case Type::ping: return "ping";
    case Type::shutdown: return "shutdown";
    case Type::welcome: return "welcome";
    case Type::ok: return "ok";
    case Type::error: return "error";
    case Type::started: return "started";
    case Type::process: return "process";
    case Type::output: return "output";
    case Type::gap: return "gap";
    case Type::exited: return "exited";
    case Type::input_ack: return "input_ack";
    case Type::pong: return "pong";
  }
  return "unknown";
}

std::string_view name(Status status) {
  switch (status) {
    case Status::running: return "running";
    case Status::exited: return "exited";
    case Status::signaled: return "signaled";
    case Status::oom_killed: return "oom_killed";
  }
  return "unknown";
}

std::string encode_frame(Type type, std::uint32_t id, std::string_view payload) {
  Writer header;
  header.u32(static_cast<std::uint32_t>(payload.size()))
      .u32(id)
      .u8(static_cast<std::uint8_t>(type));
  header.u8(0).u8(0).u8(0);
  std::string frame = header.take();
  frame += payload;
  return frame;
}

Result<std::optional<Frame>> FrameReader::next() {
  // An error leaves everything as it is, so that the next call gives it again.
  std::string_view rest = std::string_view(buffer_).substr(used_);
  if (rest.size() >= kHeaderBytes) {
    std::size_t size = u32_at(rest, 0);
    Frame frame{.type = static_cast<Type>(rest[8]), .id = u32_at(rest, 4)};
    if (size > kMaxPayload)
      return Error{Code::too_large, str("frame of ", size, " bytes; at most ", kMaxPayload)};
    if (rest[9] != 0 || rest[10] != 0 || rest[11] != 0)
      return Error{Code::invalid, "frame header with bytes that must be zero"};
    if (!legal(frame.type, from_))
      return Error{Code::invalid, str("frame of unknown type ", static_cast<unsigned>(frame.type))};
    // Only the hand's complaint about the stream as a whole belongs to no request.
    if (frame.id == 0 && frame.type != Type::error)
      return Error{Code::invalid, str("frame ", frame.type, " without a request id")};
    if (rest.size() >= kHeaderBytes + size) {
      frame.payload = rest.substr(kHeaderBytes, size);
      used_ += kHeaderBytes + size;
      return frame;
    }
  }
  buffer_.erase(0, used_);
  used_ = 0;
  if (buffer_.empty() && buffer_.capacity() > kKeepBuffer) std::string().swap(buffer_);
  return std::nullopt;
}

std::string encode(const StartSpec& spec) {
  Writer out;
  out.u8(static_cast<std::uint8_t>(spec.kind)).list(spec.argv).list(spec.env);
  out.text(spec.cwd).text(spec.user);
  out.u8(static_cast<std::uint8_t>(spec.stdin_mode));
  out.u8(static_cast<std::uint8_t>(spec.stdout_mode));
  out.u8(static_cast<std::uint8_t>(spec.stderr_mode));
  out.u8(spec.pty).u32(spec.rows).u32(spec.cols);
  out.u8(static_cast<std::uint8_t>(spec.attach)).u32(spec.timeout_ms);
  if (spec.stdin_mode == StdinMode::given) out.text(spec.input);
  return out.take();
}

Result<StartSpec> decode_start(std::string_view payload) {
  Reader in(payload);
  TRY(kind, read_enum(in, Kind::tool), "kind");
  TRY(argv, in.list(kMaxArguments, kMaxPayload), "argv");
  TRY(env, in.list(kMaxArguments, kMaxPayload), "env");
  TRY(cwd, in.text(kMaxPath), "cwd");
  TRY(user, in.text(kMaxUser), "user");
  TRY(stdin_mode, read_enum(in, StdinMode::given), "stdin mode");
  TRY(stdout_mode, read_enum(in, OutputMode::discard), "stdout mode");
  TRY(stderr_mode, read_enum(in, OutputMode::discard), "stderr mode");
  TRY(pty, read_bool(in), "pty");
  TRY(rows, in.u32(), "rows");
  TRY(cols, in.u32(), "cols");
  TRY(attach, read_enum(in, Attach::alone), "attach");
  TRY(timeout_ms, in.u32(), "timeout");
  std::string input;
  if (stdin_mode == StdinMode::given) {
    if (kind != Kind::tool) return Error{Code::invalid, "input is given to tools alone"};
    TRY(given, in.text(kMaxGiven), "input");
    input = std::move(given);
  }
  TRY_DO(in.done());
  if (argv.empty() || argv[0].empty()) return Error{Code::invalid, "argv: nothing to run"};
  if (has_nul(argv) || has_nul(env) || has_nul(cwd) || has_nul(user))
    return Error{Code::invalid, "a text with a zero byte"};
  for (const auto& entry : env)
    if (entry.find('=') == entry.npos || entry[0] == '=')
      return Error{Code::invalid, "env: an entry that is not NAME=VALUE"};
  if (pty && kind != Kind::exec) return Error{Code::invalid, "only a program has a terminal"};
  if (pty && (rows < 1 || rows > kMaxTerminal || cols < 1 || cols > kMaxTerminal))
    return Error{Code::invalid, str("a terminal of ", rows, " rows and ", cols, " columns")};
  return StartSpec{kind,
                   std::move(argv),
                   std::move(env),
                   std::move(cwd),
                   std::move(user),
                   stdin_mode,
                   stdout_mode,
                   stderr_mode,
                   pty,
                   rows,
                   cols,
                   attach,
                   timeout_ms,
                   std::move(input)};
}

std::string encode(const ProcessInfo& info) {
  Writer out;
  out.u64(info.handle).u32(info.pid).u8(static_cast<std::uint8_t>(info.kind));
  out.u8(static_cast<std::uint8_t>(info.status));
  out.u32(static_cast<std::uint32_t>(info.exit_code)).u32(info.signal);
  out.u8(info.timed_out).u8(info.stdin_writable).u8(info.pty).u32(info.rows).u32(info.cols);
  out.i64(info.started_ms).i64(info.ended_ms).u64(info.output_end).list(info.argv);
  return out.take();
}

Result<ProcessInfo> decode_process(std::string_view payload) {
  Reader in(payload);
  TRY(handle, in.u64(), "handle");
  TRY(pid, in.u32(), "pid");
  TRY(kind, read_enum(in, Kind::tool), "kind");
  TRY(status, read_enum(in, Status::oom_killed), "status");
  TRY(exit_code, in.u32(), "exit code");
  TRY(signal, in.u32(), "signal");
  TRY(timed_out, read_bool(in), "timed out");
  TRY(stdin_writable, read_bool(in), "stdin writable");
  TRY(pty, read_bool(in), "pty");
  TRY(rows, in.u32(), "rows");
  TRY(cols, in.u32(), "cols");
  TRY(started_ms, in.i64(), "started");
  TRY(ended_ms, in.i64(), "ended");
  TRY(output_end, in.u64(), "output end");
  TRY(argv, in.list(kInfoArguments, kInfoArgumentBytes), "argv");
  TRY_DO(in.done());
  if (handle == 0 || handle >= kByPid) return Error{Code::invalid, str("no handle: ", handle)};
  std::size_t argv_bytes = 0;
  for (const auto& argument : argv) argv_bytes += argument.size();
  if (argv_bytes > kInfoArgumentBytes) return Error{Code::too_large, "argv"};
  return ProcessInfo{
      handle, pid,        kind,           status,     static_cast<std::int32_t>(exit_code),
      signal, timed_out,  stdin_writable, pty,        rows,
      cols,   started_ms, ended_ms,       output_end, std::move(argv)};
}

std::string encode(const Welcome& welcome) {
  Writer out;
  out.u32(welcome.version).text(welcome.nonce).text(welcome.hand_version);
  out.u64(welcome.running).u64(welcome.total).u64(welcome.uptime_ms);
  return out.take();
}

Result<Welcome> decode_welcome(std::string_view payload) {
  Reader in(payload);
  TRY(version, in.u32(), "version");
  TRY(nonce, in.text(kMaxWord), "nonce");
  TRY(hand_version, in.text(kMaxWord), "hand version");
  TRY(running, in.u64(), "running");
  TRY(total, in.u64(), "total");
  TRY(uptime_ms, in.u64(), "uptime");
  TRY_DO(in.done());
  return Welcome{version, std::move(nonce), std::move(hand_version), running, total, uptime_ms};
}

std::string encode_error(const Error& error) {
  Writer out;
  out.u8(static_cast<std::uint8_t>(error.code));
  out.text(std::string_view(error.tag).substr(0, kMaxTag));
  out.text(std::string_view(error.what).substr(0, kMaxWhat));
  return out.take();
}

Result<Error> decode_error(std::string_view payload) {
  Reader in(payload);
  TRY(code, read_enum(in, Code::internal), "code");
  TRY(tag, in.text(kMaxTag), "tag");
  TRY(what, in.text(kMaxWhat), "what");
  TRY_DO(in.done());
  // In place: an Error by itself would make a failed Result.
  return Result<Error>(std::in_place, Error{code, std::move(what), std::move(tag)});
}

std::string encode(const Output& output) {
  Writer out;
  out.u64(output.offset).u8(output.stream).i64(output.unix_ms);
  std::string payload = out.take();
  payload += output.bytes;
  return payload;
}

Result<Output> decode_output(std::string_view payload) {
  Reader in(payload);
  TRY(offset, in.u64(), "offset");
  TRY(stream, in.u8(), "stream");
  TRY(unix_ms, in.i64(), "time");
  std::string_view bytes = in.rest();
  if (stream != kStdout && stream != kStderr)
    return Error{Code::invalid, str("no such stream: ", stream)};
  if (bytes.empty() || bytes.size() > kMaxChunk)
    return Error{Code::invalid, str("output of ", bytes.size(), " bytes")};
  if (offset > std::numeric_limits<std::uint64_t>::max() - bytes.size())
    return Error{Code::invalid, "output beyond all offsets"};
  return Output{offset, stream, unix_ms, bytes};
}

}  // namespace glovebox::wire

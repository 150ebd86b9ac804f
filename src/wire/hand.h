// The hand protocol: what an engine and the hand of a box say to each other over one byte stream.
//
// The hand listens on an inherited socket; an engine connects, says `hello` and gets `welcome`.
// Several engines may be connected at a time (an old one that is dying, a new one); they share the
// processes, nothing else. A connection that breaks stops nothing in the box: processes run on,
// their output stays in their rings, and the next engine attaches again.
//
// A frame is a header of 12 bytes {u32 payload length, u32 request id, u8 type, u8 zero[3]} and at
// most kMaxPayload bytes. The engine picks request ids (not 0); every request is answered by frames
// of its id: exactly one first answer (`ok`, `started`, `process`…, or `error`), and for `start`
// with attach and for `attach` then `output`/`gap` frames and one `exited`.
//
// Everything a box does is a *process* with three streams and an exit status: a program, a
// terminal, a file operation, a call of an agent tool. What differs is only what runs in the child
// (`StartSpec::kind`).
//
// Output. Each process has one ring of kRingBytes for both streams, with absolute offsets that
// count from 0. Readers get the last part that is still there, and a `gap` frame where something is
// missing. A reader with `hold` is lossless: the hand stops reading the process's pipes while the
// ring holds bytes that this reader has not acknowledged. When such a reader's connection ends or
// detaches, the process runs on as if nobody had held it. Flow control: at most kWindowBytes of
// output are under way to a reader beyond what it acknowledged.
//
// Bytes from the hand are hostile to the engine (code inside may have taken the hand over):
// decode() refuses what is not of this page, and the engine then drops the connection, and only
// that.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::wire {

inline constexpr std::uint32_t kHandVersion = 1;
inline constexpr std::size_t kHeaderBytes = 12;
// A start with a large environment is the largest payload; one output or stdin frame holds a chunk.
inline constexpr std::size_t kMaxPayload = 256 * 1024;
inline constexpr std::size_t kMaxChunk = 32 * 1024;
inline constexpr std::size_t kRingBytes = 256 * 1024;
inline constexpr std::size_t kWindowBytes = 128 * 1024;
// Stdin bytes under way beyond what was acknowledged.
inline constexpr std::size_t kStdinWindow = 64 * 1024;
// In the table are the running ones and the last ended ones that nobody asked to forget.
inline constexpr std::size_t kMaxProcesses = 1024;
inline constexpr std::size_t kKeepEnded = 64;
// What a ProcessInfo keeps of argv: so many, and so many bytes in all.
inline constexpr std::size_t kInfoArguments = 64;
inline constexpr std::size_t kInfoArgumentBytes = 4096;

// Behind the arrow stands the first answer.
enum class Type : std::uint8_t {
  // engine to hand
  hello = 1,      // u32 version, text nonce (16 bytes) → welcome
  start = 2,      // StartSpec → started
  attach = 3,     // u64 handle, u8 flags (kHold), u64 from offset (past the end: the end) → process
  detach = 4,     // of its id: ends that attach or start → ok, the last frame of the id; nothing
                  // comes when `exited` was sent already
  ack = 5,        // of its id: u64 offset up to which this reader has everything → nothing
  input = 6,      // u64 handle, bytes (rest) → input_ack once all of it was taken
  input_end = 7,  // u64 handle: close stdin. For a file write: commit → ok
  signal = 8,     // u64 handle, u32 number, u8 whole cgroup? (1: every process of it, also what it
                  // left behind) → ok
  resize = 9,     // u64 handle, u32 rows, u32 cols → ok
  list = 10,      // → process…, ok
  get = 11,       // u64 handle (or, with the top bit set, the pid) → process
  forget = 12,    // u64 handle of an ended process → ok
  ping = 13,      // text, echoed → pong
  shutdown = 14,  // u32 ms: SIGTERM to all, SIGKILL after that time, then the hand exits → ok
  // hand to engine
  welcome = 64,    // u32 version, text nonce, text hand version, u64 running, u64 total started,
                   // u64 uptime ms
  ok = 65,         // empty
  error = 66,      // u8 Code, text tag, text what; of id 0: the stream itself is broken
  started = 67,    // ProcessInfo
  process = 68,    // ProcessInfo
  output = 69,     // u64 offset, u8 stream, i64 unix ms, bytes (rest)
  gap = 70,        // u64 from, u64 to: lost
  exited = 71,     // ProcessInfo; all its output was sent before
  input_ack = 72,  // u64 bytes taken of this handle's stdin since its start
  pong = 73,       // the text of the ping
};
std::string_view name(Type type);

inline constexpr std::uint8_t kHold = 1;
inline constexpr std::uint64_t kByPid = 1ull << 63;

enum class Kind : std::uint8_t {
  exec = 0,  // run argv
  file = 1,  // argv = {verb, path}: "read" (file → stdout), "write" (stdin → file, parents made,
             // replaces atomically at input_end), "delete", "list" (stdout: JSON as of
             // GET /files/list). Fails with exit code = errno and the reason on stderr.
  tool = 2,  // argv = {tool name, the caller's key of this call?}, stdin = its JSON input, or given
             // with the start; stdout = {"content": text, "is_error": bool}. Who lost the answer
             // finds the call again by its key.
};

// A program with this in the environment of its start ends with all it started, as the Tensorlake
// command line asks for; otherwise background processes outlive it.
inline constexpr std::string_view kOneShot = "TENSORLAKE_SANDBOX_PROCESS_MODE=one-shot";

enum class StdinMode : std::uint8_t {
  closed = 0,
  pipe = 1,
  given = 2,  // of a tool call: all of it stands in `input`, which saves a way there and back
};
// Of StartSpec::input: the rest of the payload is its arguments.
inline constexpr std::size_t kMaxGiven = 128 * 1024;
enum class OutputMode : std::uint8_t { capture = 0, discard = 1 };
enum class Attach : std::uint8_t {
  none = 0,
  follow = 1,
  hold = 2,
  // As hold, and there is nobody else: it is forgotten with `exited`. A program is in no list
  // either and ends with its reader's connection: what it says is no part of what the box said.
  alone = 3,
};
enum Stream : std::uint8_t { kStdout = 1, kStderr = 2 };  // a terminal has only kStdout

struct StartSpec {
  Kind kind = Kind::exec;
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "K=V", over the box's own environment
  std::string cwd;               // empty: the box's work directory
  std::string user;              // "name", "uid", "uid:gid"; empty: the box's user
  StdinMode stdin_mode = StdinMode::closed;
  OutputMode stdout_mode = OutputMode::capture;
  OutputMode stderr_mode = OutputMode::capture;
  bool pty = false;  // a terminal of rows × cols; stdin_mode is pipe then, and modes are capture
  std::uint32_t rows = 24, cols = 80;
  Attach attach = Attach::none;
  // 0: none. At the end every process of its cgroup is killed and `timed_out` is set.
  std::uint32_t timeout_ms = 0;
  std::string input;  // only with StdinMode::given
};

enum class Status : std::uint8_t { running = 0, exited = 1, signaled = 2, oom_killed = 3 };
std::string_view name(Status status);

struct ProcessInfo {
  std::uint64_t handle = 0;  // unique for the life of the box, from 1
  std::uint32_t pid = 0;     // inside the box
  Kind kind = Kind::exec;
  Status status = Status::running;
  std::int32_t exit_code = 0;
  std::uint32_t signal = 0;
  bool timed_out = false;
  bool stdin_writable = false;
  bool pty = false;
  std::uint32_t rows = 0, cols = 0;
  std::int64_t started_ms = 0, ended_ms = 0;  // unix; ended 0 while running
  std::uint64_t output_end = 0;               // offset of the next byte
  std::vector<std::string> argv;              // cut to 64 entries and 4 KiB in all
};

// One frame as it came: payload still coded.
struct Frame {
  Type type{};
  std::uint32_t id = 0;
  std::string payload;
};

std::string encode_frame(Type type, std::uint32_t id, std::string_view payload);

// Cuts a byte stream into frames. Feed what was read, take frames until nullopt; an error is final.
class FrameReader {
 public:
  enum class From { engine, hand };  // which types are legal
  explicit FrameReader(From from) : from_(from) {}
  void feed(std::string_view bytes) { buffer_ += bytes; }
  Result<std::optional<Frame>> next();

 private:
  From from_;
  std::string buffer_;
  std::size_t used_ = 0;
};

std::string encode(const StartSpec& spec);
Result<StartSpec> decode_start(std::string_view payload);
std::string encode(const ProcessInfo& info);
Result<ProcessInfo> decode_process(std::string_view payload);

struct Welcome {
  std::uint32_t version = 0;
  std::string nonce, hand_version;
  std::uint64_t running = 0, total = 0, uptime_ms = 0;
};
std::string encode(const Welcome& welcome);
Result<Welcome> decode_welcome(std::string_view payload);

std::string encode_error(const Error& error);
Result<Error> decode_error(std::string_view payload);

struct Output {
  std::uint64_t offset = 0;
  std::uint8_t stream = kStdout;
  std::int64_t unix_ms = 0;
  std::string_view bytes;  // into the payload
};
std::string encode(const Output& output);
Result<Output> decode_output(std::string_view payload);

}  // namespace glovebox::wire

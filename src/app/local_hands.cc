#include "app/local_hands.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "base/log.h"
#include "net/task.h"
#include "runner/result.h"
#include "sys/unix_socket.h"
#include "wire/sandbox.h"

namespace glovebox::app {

using runner::ToolCall;
using runner::ToolResult;

namespace {

constexpr Millis kStartLimit = 20s;
constexpr Millis kEndLimit = 10s;  // a hand that is told to end gives its processes 5
constexpr std::size_t kMaxToolResult = 16 << 20;
// Most calls of a model that looks around end within this. Who waits for one of them alone, after
// another that was as short, does not sleep meanwhile.
constexpr auto kShort = 1ms;
constexpr std::chrono::microseconds kPatience{200};

constexpr std::string_view kDied =
    "Error: the process that carries out tool calls ended during this call. Whether the call had "
    "an effect is not known. The shell and its background jobs are gone; files are as they are.";

// A directory that nobody else can enter, for the moment between a hand's listening socket and our
// connection to it: who connects to a hand commands it.
class SocketPlace {
 public:
  static Result<SocketPlace> make(const std::string& last_resort) {
    const char* set = ::getenv("TMPDIR");
    Error error;
    for (std::string parent : {std::string(set ? set : ""), std::string("/tmp"),
                               std::string("/run"), std::string("/dev/shm"), last_resort}) {
      if (parent.empty()) continue;
      std::string path = parent + "/glovebox-XXXXXX";
      if (!::mkdtemp(path.data())) {
        error = sys_error(str("a directory in ", parent));
        continue;
      }
      Fd dir(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
      if (dir) return SocketPlace(std::move(path), std::move(dir));
      error = sys_error(path);
      ::rmdir(path.c_str());
    }
    return error;
  }
  SocketPlace(SocketPlace&& other) noexcept
      : path_(std::exchange(other.path_, "")), dir_(std::move(other.dir_)) {}
  ~SocketPlace() {
    if (path_.empty()) return;
    ::unlink(socket().c_str());
    ::rmdir(path_.c_str());
  }
  std::string socket() const { return path_ + "/hand"; }
  // A path can be longer than a socket's address may be.
  std::string dialled() const { return str("/proc/self/fd/", dir_.get(), "/hand"); }

 private:
  SocketPlace(std::string path, Fd dir) : path_(std::move(path)), dir_(std::move(dir)) {}
  std::string path_;
  Fd dir_;
};

sys::SpawnSpec spec_of(const LocalHandOptions& options, int listener) {
  return {.program = options.program,
          .args = {"glovebox-hand", "serve", "--listen-fd", "3", "--cwd", options.workdir},
          .env = options.env,
          .fds = {{listener, 3}, {STDERR_FILENO, STDERR_FILENO}},
          .cwd = options.workdir,
          .new_session = true,       // a terminal's Ctrl-C is for us
          .parent_death = SIGTERM};  // at which it ends all that it runs
}

// The call as a process of the hand. Dropped before its end it is killed.
class RunningCall {
 public:
  RunningCall(std::shared_ptr<engine::HandLink> link, std::unique_ptr<engine::Attachment> output)
      : link_(std::move(link)), output_(std::move(output)), handle_(output_->info().handle) {}
  RunningCall(const RunningCall&) = delete;
  ~RunningCall() {
    output_.reset();
    if (!ended_) link_->signal_now(handle_, SIGKILL, true);
  }

  // That the tool does not want its input is no error: its end says why.
  Task<void> feed(std::string input) {
    auto written = co_await link_->give_stdin(handle_, std::move(input));
    if (!written && (written.error().code == Code::cancelled || !link_->alive())) co_return written;
    co_return ok;
  }

  Task<ToolResult> finish() {
    std::string out;
    for (;;) {
      CO_TRY(event, co_await output_->next(net::kForever));
      if (auto* exited = std::get_if<engine::ExitedEvent>(&event)) {
        ended_ = true;
        co_return result_of(exited->info, out);
      }
      auto* output = std::get_if<engine::OutputEvent>(&event);
      if (!output) co_return Error{Code::internal, "output is missing where none can be"};
      if (output->stream != wire::kStdout) continue;
      if (out.size() + output->bytes.size() > kMaxToolResult)
        co_return runner::error_result("Error: the result of this call is too large");
      out += output->bytes;
    }
  }

 private:
  static ToolResult result_of(const wire::ProcessInfo& info, std::string_view out) {
    if (auto result = wire::decode_tool_result(out))
      return {str('"', json_escape(result->content), '"'), result->is_error};
    if (info.status == wire::Status::signaled)
      return runner::error_result(str("Error: the tool was ended by signal ", info.signal));
    return runner::error_result("Error: the tool ended without a result");
  }

  std::shared_ptr<engine::HandLink> link_;
  std::unique_ptr<engine::Attachment> output_;
  const std::uint64_t handle_;
  bool ended_ = false;
};

class Counted {
 public:
  explicit Counted(std::shared_ptr<std::size_t> count) : count_(std::move(count)) { ++*count_; }
  Counted(const Counted&) = delete;
  ~Counted() { --*count_; }
  bool alone() const { return *count_ == 1; }

 private:
  const std::shared_ptr<std::size_t> count_;
};

ToolResult lost(const std::string& call, const Error& error) {
  log::error("hand.lost", {{"call", call}, {"error", error.what}});
  return runner::error_result(kDied);
}

}  // namespace

std::vector<std::string> environment_for_tools(const cli::Environment& own) {
  std::vector<std::string> out;
  for (const auto& [name, value] : own)
    if (!lower(name).starts_with("anthropic_")) out.push_back(str(name, '=', value));
  return out;
}

Result<std::string> usable_workdir(const std::string& path) {
  char real[PATH_MAX];
  if (!::realpath(path.c_str(), real)) return sys_error(path);
  struct stat info{};
  if (::stat(real, &info) < 0) return sys_error(path);
  if (!S_ISDIR(info.st_mode)) return Error{Code::invalid, str(path, " is not a directory")};
  if (::access(real, R_OK | W_OK | X_OK) < 0) return sys_error(path);
  return std::string(real);
}

LocalHands::~LocalHands() {
  if (!hand_) return;
  (void)hand_->signal(SIGTERM);
  hand_->detach();
}

// With all that it runs. A hand that is killed itself would leave that behind.
Task<void> LocalHands::end(Millis grace) {
  if (!hand_) co_return ok;
  const bool told = link_ && link_->alive() && co_await link_->shutdown(grace);
  if (!told) (void)hand_->signal(SIGTERM);
  link_.reset();
  auto ended = co_await net::readable(hand_->exit_event(), kEndLimit);
  if (!ended && ended.error().code == Code::cancelled) co_return ended;
  hand_.reset();
  co_return ok;
}

Task<void> LocalHands::start() {
  CO_TRY_DO(co_await end(0ms));
  CO_TRY(workdir, usable_workdir(options_.workdir), "the work directory");
  CO_TRY(place, SocketPlace::make(options_.workdir), "a place for the hand's socket");
  CO_TRY(listener, sys::listen_unix(place.socket(), SOCK_STREAM));
  CO_TRY(hand, sys::spawn(spec_of(options_, listener.get())), "start the hand");
  CO_TRY(link, co_await engine::HandLink::connect(loop_, place.dialled(), kStartLimit));
  log::debug("hand.start", {{"pid", hand.pid()}});
  hand_.emplace(std::move(hand));
  link_ = std::move(link);
  settling_.worked();
  co_return ok;
}

Task<void> LocalHands::open() { return start(); }

bool LocalHands::has(std::string_view tool) const {
  constexpr std::string_view kTools[] = {"bash", "read", "write", "edit", "glob", "grep"};
  return std::ranges::find(kTools, tool) != std::end(kTools);
}

Task<ToolResult> LocalHands::call(ToolCall call) {
  if (!link_ || !link_->alive()) CO_TRY_DO(co_await start());
  const auto link = link_;
  wire::StartSpec spec;
  spec.kind = wire::Kind::tool;
  spec.argv = {call.name, call.id};
  for (const runner::ToolRoot& root : call.roots)
    spec.argv.push_back(str(root.read_only ? "ro:" : "rw:", root.path));
  spec.attach = wire::Attach::alone;
  const bool given = call.input.size() <= wire::kMaxGiven;
  spec.stdin_mode = given ? wire::StdinMode::given : wire::StdinMode::pipe;
  if (given) spec.input = std::move(call.input);
  // Without its input no call begins: one that fails here can be asked for again. (A hand that dies
  // when it was given both is no such case.)
  const Counted counted(options_.running);
  const auto began = std::chrono::steady_clock::now();
  const bool patient = given && std::exchange(last_was_short_, false) && counted.alone();
  auto output = co_await link->start_attached(std::move(spec),
                                              patient ? kPatience : std::chrono::microseconds());
  if (!output && given && !link->alive() && output.error().code != Code::cancelled)
    co_return lost(call.id, output.error());
  if (!output) co_return std::move(output.error());
  RunningCall running(link, std::move(*output));
  Result<void> done = ok;
  if (!given) done = co_await running.feed(std::move(call.input));
  Result<ToolResult> result = ToolResult{};
  if (done) result = co_await running.finish();
  if (!done) result = std::move(done.error());
  last_was_short_ = std::chrono::steady_clock::now() - began < kShort;
  settling_.worked();
  if (result || result.error().code == Code::cancelled) co_return result;
  co_return lost(call.id, result.error());
}

// As the official worker ends its shell: at once.
Task<void> LocalHands::close(End) { co_return co_await end(0ms); }

}  // namespace glovebox::app

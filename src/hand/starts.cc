#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/log.h"
#include "hand/child.h"
#include "hand/server.h"
#include "sys/packet.h"
#include "tools/tools.h"
#include "wire/trees.h"

namespace glovebox::hand {
namespace {

constexpr std::size_t kMaxWaiting = 256;
constexpr std::size_t kMaxWaitingBytes = 4 * 1024 * 1024;
constexpr auto kStartLimit = 10s;

std::int64_t unix_ms() { return system_clock().unix_ms(); }

struct Pipe {
  Fd ours, theirs;
};

Result<Pipe> make_pipe(bool we_write) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return sys_error("pipe");
  Fd read(ends[0]), write(ends[1]);
  Pipe pipe =
      we_write ? Pipe{std::move(write), std::move(read)} : Pipe{std::move(read), std::move(write)};
  return pipe;
}

// Only our end: what a program does with its own is its affair.
void set_nonblocking(const Fd& fd) {
  if (fd) ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

Result<Fd> memory_file(std::string_view bytes) {
  Fd memory(::memfd_create("start", MFD_CLOEXEC));
  if (!memory ||
      ::write(memory.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    return sys_error("memory for a start");
  return memory;
}

Result<void> check_clean(const std::string& path) {
  for (const auto& part : split(path, '/'))
    if (part == "..")
      return Error{Code::forbidden, str("a path with \"..\": ", path), "PATH_TRAVERSAL"};
  return ok;
}

Result<void> check_path(const std::string& path) {
  if (!path.starts_with('/'))
    return Error{Code::invalid, str("not an absolute path: ", path), "PATH_NOT_ABSOLUTE"};
  return check_clean(path);
}

// It may count from the box's work directory: those outside do not know where that is.
Result<void> check_tree(const std::vector<std::string>& argv) {
  if (argv.size() != (argv[0] == "place" ? 4 : 2) || argv[1].empty())
    return Error{Code::invalid, "this is no operation on a tree"};
  if (argv.size() > 2) TRY_DO(check_clean(argv[2]));
  return check_clean(argv[1]);
}

Result<void> check_file(const std::vector<std::string>& argv) {
  static constexpr std::string_view kVerbs[] = {"read", "write", "delete", "list"};
  if (wire::is_tree_verb(argv[0])) return check_tree(argv);
  if (argv.size() != 2 || std::ranges::find(kVerbs, argv[0]) == std::end(kVerbs))
    return Error{Code::invalid, "a file operation is read, write, delete or list, and a path"};
  return check_path(argv[1]);
}

Result<void> check_tool(const std::vector<std::string>& argv) {
  static constexpr std::string_view kTools[] = {"bash", "read", "write", "edit", "glob", "grep"};
  if (argv.size() > 2 + wire::kMaxToolRoots ||
      std::ranges::find(kTools, argv[0]) == std::end(kTools))
    return Error{Code::invalid, str("no such tool: ", argv[0])};
  for (std::size_t i = 2; i < argv.size(); ++i) {
    if (!argv[i].starts_with("rw:") && !argv[i].starts_with("ro:"))
      return Error{Code::invalid, str("not rw:PATH or ro:PATH: ", argv[i])};
    TRY_DO(check_path(argv[i].substr(3)));
  }
  return ok;
}

void cut_argv(std::vector<std::string>& argv) {
  if (argv.size() > wire::kInfoArguments) argv.resize(wire::kInfoArguments);
  std::size_t left = wire::kInfoArgumentBytes;
  for (auto& argument : argv) {
    if (argument.size() > left) argument.resize(left);
    left -= argument.size();
    argument.shrink_to_fit();
  }
}

bool wants_stdin(const wire::StartSpec& spec) {
  if (spec.stdin_mode == wire::StdinMode::given) return false;
  bool needs =
      spec.kind == wire::Kind::tool ||
      (spec.kind == wire::Kind::file && (spec.argv[0] == "write" || spec.argv[0] == "place"));
  return needs || spec.stdin_mode == wire::StdinMode::pipe;
}

}  // namespace

Result<void> Hand::may_start(const wire::StartSpec& spec) const {
  if (stopping_) return Error{Code::conflict, "the sandbox is ending", "SHUTTING_DOWN"};
  if (spec.kind == wire::Kind::file) TRY_DO(check_file(spec.argv));
  if (spec.kind == wire::Kind::tool) TRY_DO(check_tool(spec.argv));
  if (processes_.size() + starts_.size() >= wire::kMaxProcesses)
    return Error{Code::exhausted, str("at most ", wire::kMaxProcesses, " processes at a time"),
                 "TOO_MANY_PROCESSES"};
  if (waiting_.size() >= kMaxWaiting || waiting_bytes_ > kMaxWaitingBytes)
    return Error{Code::exhausted, "too many starts at a time; try again", "TOO_MANY_STARTS"};
  return ok;
}

void Hand::enqueue(Start start, bool first) {
  start.deadline = now() + kStartLimit;
  waiting_bytes_ += start.payload.size();
  std::uint64_t id = next_start_++;
  starts_.emplace(id, std::move(start));
  if (first) {
    waiting_.push_front(id);
  } else {
    waiting_.push_back(id);
  }
}

void Hand::launch_waiting() {
  if (auto failure = nursery_.take_failure())
    while (!waiting_.empty()) start_failed(waiting_.front(), *failure);
  while (!waiting_.empty()) {
    std::uint64_t id = waiting_.front();
    Start& start = starts_.at(id);
    auto blank = start.spec.kind == wire::Kind::tool ? take_idle_tool(start.spec) : std::nullopt;
    if (!blank) blank = nursery_.take();
    if (!blank) break;
    waiting_.pop_front();
    waiting_bytes_ -= start.payload.size();
    start.handle = blank->id;
    start.pid = blank->pid;
    blank->socket.rename(Source::start, id);
    auto launched = launch(start, std::move(*blank));
    if (launched) continue;
    if (launched.error().code == Code::unavailable) {
      try_again(id);
    } else {
      take_back_shell(start.handle);
      start_failed(id, launched.error());
    }
  }
  if (!stopping_) nursery_.want(waiting_.size(), now());
}

// The blank died under it before it did anything: somebody inside kills what he finds. The next
// one, then, until its deadline.
void Hand::try_again(std::uint64_t id) {
  Start& start = starts_.at(id);
  nursery_.bury(std::move(start.group));
  start.socket.reset();
  for (Fd* fd : {&start.in, &start.out, &start.err, &start.control}) fd->reset();
  take_back_shell(start.handle);
  start.handle = 0;
  start.pid = 0;
  waiting_.push_front(id);
  waiting_bytes_ += start.payload.size();
}

Result<void> Hand::launch(Start& start, Blank blank) {
  start.group = std::move(blank.group);
  start.socket = std::move(blank.socket);
  std::uint8_t flags = 0;
  std::vector<int> fds;
  std::vector<Fd> theirs;
  auto give = [&](std::uint8_t flag, Fd end) {
    flags |= flag;
    fds.push_back(end.get());
    theirs.push_back(std::move(end));
  };
  const auto& spec = start.spec;
  std::string message(1, '\0');
  if (start.payload.size() < kStartMessage) {
    message += start.payload;
  } else {
    TRY(memory, memory_file(start.payload));
    give(kInFile, std::move(memory));
  }
  if (start.is_shell || (!spec.pty && wants_stdin(spec))) {
    TRY(pipe, make_pipe(true));
    start.in = std::move(pipe.ours);
    give(kHasInput, std::move(pipe.theirs));
  }
  if (start.is_shell) {
    TRY(pipe, make_pipe(false));
    TRY(control, make_pipe(false));
    start.out = std::move(pipe.ours);
    start.control = std::move(control.ours);
    give(kIsShell, std::move(pipe.theirs));
    give(kIsShell, std::move(control.theirs));
    set_nonblocking(start.in);
    const std::string first = tools::shell_preamble();
    if (::write(start.in.get(), first.data(), first.size()) < 0) return sys_error("write");
  } else if (spec.kind == wire::Kind::tool) {
    // Its answer comes over its socket.
    if (is_free_for(spec)) {
      flags |= kHasShell;
      lend_shell(start, fds);
    }
  } else if (!spec.pty) {
    // What a file operation says is never thrown away: it is the answer.
    bool all = spec.kind != wire::Kind::exec;
    if (all || spec.stdout_mode == wire::OutputMode::capture) {
      TRY(pipe, make_pipe(false));
      start.out = std::move(pipe.ours);
      give(kHasOutput, std::move(pipe.theirs));
    }
    if (all || spec.stderr_mode == wire::OutputMode::capture) {
      TRY(pipe, make_pipe(false));
      start.err = std::move(pipe.ours);
      give(kHasError, std::move(pipe.theirs));
    }
  }
  message[0] = static_cast<char>(flags);
  TRY_DO(sys::send_packet(start.socket.get(), message, fds, MSG_DONTWAIT));
  start.socket.want(EPOLLIN);
  return ok;
}

// Word of a child that is becoming something, or its silence: exec closes the socket.
void Hand::on_start(std::uint64_t id) {
  auto found = starts_.find(id);
  if (found == starts_.end()) return;
  Start& start = found->second;
  while (start.socket) {
    auto packet = sys::receive_packet(start.socket.get(), kChildMessage, 1);
    if (!packet && packet.error().code == Code::exhausted) return;
    const bool tool = start.spec.kind == wire::Kind::tool;
    if (!packet || packet->bytes.empty()) {
      // Nobody has taken what a child was given that is killed while it waits for it (it looks
      // first, and takes then).
      bool unread = !packet && packet.error().tag == "ECONNRESET";
      if (start.exec_next || (may_have_begun(start) && !unread)) return (void)started(id);
      return try_again(id);
    }
    if (tool && packet->bytes[0] != kFailed) {
      Process* process = started(id);
      if (packet->bytes[0] != kReady && on_word(*process, packet->bytes)) on_control(*process);
      return;
    }
    if (packet->bytes[0] == kExec && start.spec.kind == wire::Kind::exec &&
        (!start.spec.pty || start.out)) {
      start.exec_next = true;
      continue;
    }
    if (packet->bytes[0] == kReady && start.spec.pty && packet->fds.size() == 1 && !start.out) {
      start.out = std::move(packet->fds[0]);
      continue;  // and now the program
    }
    if (packet->bytes[0] == kReady && start.spec.kind != wire::Kind::exec) return (void)started(id);
    if (packet->bytes[0] == kFailed) take_back_shell(start.handle);
    auto error = packet->bytes[0] == kFailed
                     ? wire::decode_error(std::string_view(packet->bytes).substr(1))
                     : Result<Error>(Error{Code::internal, ""});
    return start_failed(id, error ? *error : Error{Code::internal, "nonsense from a child"});
  }
}

// A tool call that was given its input begins without a word, and says none as long as the kernel
// keeps it (a disk that stalls, a box that is frozen).
bool Hand::may_have_begun(const Start& start) {
  return start.handle != 0 && start.spec.stdin_mode == wire::StdinMode::given;
}

// Who is told that a start failed tries it again. So a call that may have begun goes on, and its
// end is told as any other's.
void Hand::give_up(std::uint64_t id, Error error) {
  if (may_have_begun(starts_.at(id))) return (void)started(id);
  start_failed(id, std::move(error));
}

// None where it is the shell.
Process* Hand::started(std::uint64_t id) {
  auto node = starts_.extract(id);
  Start& start = node.mapped();
  if (start.is_shell) {
    shell_started(start);
    return nullptr;
  }

  const auto& spec = start.spec;
  const bool alone = spec.attach == wire::Attach::alone;
  const bool passing = spec.kind == wire::Kind::file || (spec.kind == wire::Kind::exec && alone);
  auto made = std::make_unique<Process>(passing ? passing_pool_ : pool_);
  Process& process = *made;
  auto& info = process.info;
  info.handle = start.handle;
  info.pid = static_cast<std::uint32_t>(start.pid);
  info.kind = spec.kind;
  info.pty = spec.pty;
  if (spec.pty) info.rows = spec.rows, info.cols = spec.cols;
  info.started_ms = unix_ms();
  process.group = std::move(start.group);
  process.starter = start.connection;
  process.one_shot = start.one_shot;
  process.alone = alone;
  process.passing = passing;
  if (spec.timeout_ms > 0) process.deadline = now() + Millis(spec.timeout_ms);
  if (spec.pty) {
    // Two descriptors, because epoll knows each only once, and input waits on its own.
    start.in = Fd(::fcntl(start.out.get(), F_DUPFD_CLOEXEC, 0));
  }
  info.stdin_writable = static_cast<bool>(start.in);
  for (const Fd* fd : {&start.in, &start.out, &start.err}) set_nonblocking(*fd);
  process.in = Watched(poll_, std::move(start.in), Source::input, info.handle);
  process.out = Watched(poll_, std::move(start.out), Source::output, info.handle);
  process.err = Watched(poll_, std::move(start.err), Source::error_output, info.handle);
  process.out.want(EPOLLIN);
  process.err.want(EPOLLIN);
  if (spec.kind == wire::Kind::tool) {
    process.tool_user = spec.user;
    if (spec.argv[0] == "bash") process.shell_spec = std::make_unique<wire::StartSpec>(spec);
    start.socket.rename(Source::control, info.handle);
    process.control = std::move(start.socket);
  }
  info.argv = std::move(start.spec.argv);
  cut_argv(info.argv);
  ++total_started_;
  running_[start.pid] = info.handle;
  processes_.emplace(info.handle, std::move(made));
  if (Connection* engine = connection(start.connection)) {
    engine->send(wire::Type::started, start.request, wire::encode(info));
    if (spec.attach != wire::Attach::none && !engine->readers.contains(start.request))
      add_reader(*engine, start.request, process, spec.attach >= wire::Attach::hold, 0);
  } else {
    starter_gone(process);
  }
  return &process;
}

void Hand::start_failed(std::uint64_t id, Error error) {
  auto node = starts_.extract(id);
  Start& start = node.mapped();
  if (start.handle == 0) {
    waiting_bytes_ -= start.payload.size();
    std::erase(waiting_, id);
  } else {
    // Nothing half-started may stay.
    if (start.group.dir() < 0) ::kill(start.pid, SIGKILL);
    nursery_.bury(std::move(start.group));
    bash_call_ended(start.handle);
  }
  if (start.is_shell) return shell_failed(error);
  if (Connection* engine = connection(start.connection)) engine->send(start.request, error);
}

}  // namespace glovebox::hand

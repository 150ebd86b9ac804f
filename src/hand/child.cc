#include "hand/child.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>

#include "sys/text.h"
#include "tools/tools.h"
#include "wire/trees.h"

namespace glovebox::hand {
namespace {

[[noreturn]] void fail(int socket, const Error& error) {
  (void)sys::send_packet(socket, std::string(1, kFailed) + wire::encode_error(error), {}, 0);
  ::_exit(127);
}

// What came with a start, one after the other.
class Given {
 public:
  explicit Given(std::vector<Fd> fds) : fds_(std::move(fds)) {}
  Result<Fd> next() {
    if (next_ >= fds_.size()) return Error{Code::internal, "a descriptor is missing"};
    return std::move(fds_[next_++]);
  }
  Result<void> next_becomes(int number) {
    TRY(fd, next());
    return ::dup2(fd.get(), number) < 0 ? Result<void>(sys_error("dup2")) : ok;
  }
  std::vector<Fd> rest() {
    fds_.erase(fds_.begin(), fds_.begin() + static_cast<std::ptrdiff_t>(next_));
    return std::exchange(fds_, {});
  }

 private:
  std::vector<Fd> fds_;
  std::size_t next_ = 0;
};

Result<wire::StartSpec> read_spec(std::uint8_t flags, std::string_view message, Given& given) {
  if (!(flags & kInFile)) return wire::decode_start(message.substr(1));
  TRY(memory, given.next());
  struct stat st{};
  if (::fstat(memory.get(), &st) < 0 || static_cast<std::size_t>(st.st_size) > wire::kMaxPayload)
    return sys_error("what to start");
  std::string payload(static_cast<std::size_t>(st.st_size), '\0');
  ssize_t n = ::pread(memory.get(), payload.data(), payload.size(), 0);
  if (n < 0) return sys_error("read what to start");
  payload.resize(static_cast<std::size_t>(n));
  return wire::decode_start(payload);
}

// The descriptors that came become 0, 1, 2 and, for a shell, its two pipes; each missing one is
// /dev/null. (Of a tool call it is that already.)
Result<void> take_streams(std::uint8_t flags, bool tool, Given& given) {
  constexpr StartFlag kFlags[] = {kHasInput, kHasOutput, kHasError};
  for (int stream : {0, 1, 2}) {
    if (flags & kFlags[stream]) {
      TRY_DO(given.next_becomes(stream));
    } else if (!tool) {
      Fd null(::open("/dev/null", (stream == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC));
      if (!null || ::dup2(null.get(), stream) < 0) return sys_error("/dev/null");
    }
  }
  if (flags & kIsShell)
    for (int number : {tools::kOutputFd, tools::kControlFd}) TRY_DO(given.next_becomes(number));
  return ok;
}

Result<std::string> enter_directory(const Config& config, const wire::StartSpec& spec) {
  // A relative one counts from the box's own.
  std::string dir = spec.cwd.starts_with('/') ? spec.cwd
                    : spec.cwd.empty()        ? config.cwd
                                              : str(config.cwd, '/', spec.cwd);
  if (::chdir(dir.c_str()) == 0) return dir;
  Error error = sys_error(str("working directory ", dir));
  error.tag = "WORKING_DIRECTORY";
  return error;
}

// The box's environment, then the user's own words where the user is another, then the caller's;
// HOME and USER are never missing.
std::vector<std::string> environment(const Config& config, const wire::StartSpec& spec,
                                     const Identity& identity) {
  std::vector<std::string> own = {str("HOME=", identity.home), str("USER=", identity.name),
                                  str("LOGNAME=", identity.name)};
  bool other = !spec.user.empty() && spec.user != config.user;
  auto base = other ? merge_env(config.env, own) : merge_env(own, config.env);
  return merge_env(std::move(base), spec.env);
}

// Nothing of a call stays.
void let_go(bool had_input) {
  ::clearenv();  // it points into what goes now
  if (!had_input) return;
  Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null || ::dup2(null.get(), STDIN_FILENO) < 0) ::_exit(0);
}

// Comes back only from a tool call: this process can do another, of the same user.
void run(const Config& config, int socket, sys::Packet start, std::optional<Identity>& known) {
  std::uint8_t flags = static_cast<std::uint8_t>(start.bytes[0]);
  Given given(std::move(start.fds));
  auto spec = read_spec(flags, start.bytes, given);
  if (!spec) fail(socket, spec.error());
  if (auto taken = take_streams(flags, spec->kind == wire::Kind::tool, given); !taken)
    fail(socket, taken.error());
  Result<Identity> identity =
      known ? *known : find_identity(spec->user.empty() ? config.user : spec->user);
  if (!identity) fail(socket, identity.error());
  if (spec->pty)
    if (auto opened = open_terminal(socket, *spec, *identity); !opened)
      fail(socket, opened.error());
  if (spec->kind == wire::Kind::file && spec->argv[0] == "folder")
    if (auto made = give_folder(spec->argv[1], *identity); !made) fail(socket, made.error());
  if (!known)
    if (auto became = become(*identity); !became) fail(socket, became.error());
  auto dir = enter_directory(config, *spec);
  if (!dir) fail(socket, dir.error());
  auto env = environment(config, *spec, *identity);

  switch (spec->kind) {
    case wire::Kind::exec: {
      if (flags & kIsShell) env = tools::shell_env(env);
      (void)sys::send_packet(socket, std::string(1, kExec), {}, 0);
      fail(socket, exec_program(spec->argv, env));
    }
    case wire::Kind::file:
      (void)sys::send_packet(socket, std::string(1, kReady), {}, 0);
      ::close(socket);
      ::_exit(wire::is_tree_verb(spec->argv[0]) ? run_tree(spec->argv)
                                                : run_file(spec->argv[0], spec->argv[1]));
    case wire::Kind::tool: {
      // Tools look up programs and homes as a program started here would.
      ::clearenv();
      for (auto& entry : env) ::putenv(entry.data());
      ToolCall call{.argv = spec->argv, .workdir = *dir, .shell = given.rest()};
      if (flags & kHasInput)
        (void)sys::send_packet(socket, std::string(1, kReady), {}, 0);
      else
        call.input = std::move(spec->input);
      run_tool_call(socket, std::move(call));
      known = std::move(*identity);
      return let_go(flags & kHasInput);
    }
  }
  ::_exit(127);
}

}  // namespace

std::vector<std::string> merge_env(std::vector<std::string> base,
                                   const std::vector<std::string>& over) {
  for (const auto& entry : over) {
    std::string_view name = std::string_view(entry).substr(0, entry.find('=') + 1);
    auto same = std::ranges::find_if(base, [&](const auto& e) { return e.starts_with(name); });
    if (same == base.end()) {
      base.push_back(entry);
    } else {
      *same = entry;
    }
  }
  return base;
}

void child_main(const Config& config, int socket, sys::Packet start) {
  try {
    std::optional<Identity> known;  // what we have become for a tool call
    sys::Settling settling;
    for (;;) {
      run(config, socket, std::move(start), known);
      settling.worked();
      auto next = sys::receive_packet(socket, kStartMessage, kStartFds);
      if (!next || next->bytes.empty()) ::_exit(0);
      start = std::move(*next);
    }
  } catch (const std::exception& error) {  // out of memory, most likely
    fail(socket, Error{Code::internal, error.what()});
  }
}

}  // namespace glovebox::hand

#include "hand/child.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>

#include "tools/tools.h"
#include "wire/trees.h"

namespace glovebox::hand {
namespace {

[[noreturn]] void fail(int socket, const Error& error) {
  (void)sys::send_packet(socket, std::string(1, kFailed) + wire::encode_error(error), {}, 0);
  ::_exit(127);
}

Result<wire::StartSpec> read_spec(int memory) {
  struct stat st{};
  if (::fstat(memory, &st) < 0 || static_cast<std::size_t>(st.st_size) > wire::kMaxPayload)
    return sys_error("what to start");
  std::string payload(static_cast<std::size_t>(st.st_size), '\0');
  ssize_t n = ::pread(memory, payload.data(), payload.size(), 0);
  if (n < 0) return sys_error("read what to start");
  payload.resize(static_cast<std::size_t>(n));
  return wire::decode_start(payload);
}

// The descriptors that came become 0, 1, 2 and, for a shell, its control pipe; each missing one is
// /dev/null.
Result<void> take_streams(std::uint8_t flags, std::vector<Fd>& fds) {
  std::size_t next = 1;
  for (int stream : {0, 1, 2}) {
    Fd fd;
    if (!(flags & 1 << stream)) {
      fd = Fd(::open("/dev/null", (stream == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC));
      if (!fd) return sys_error("/dev/null");
    } else if (next < fds.size()) {
      fd = std::move(fds[next++]);
    } else {
      return Error{Code::internal, "a stream is missing"};
    }
    if (::dup2(fd.get(), stream) < 0) return sys_error("dup2");
  }
  if (flags & kIsShell) {
    if (next >= fds.size()) return Error{Code::internal, "the control pipe is missing"};
    if (::dup2(fds[next].get(), tools::kControlFd) < 0) return sys_error("dup2");
  }
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

// Nothing of a call stays: the end of its output is how the hand knows that it has all of it.
void let_go() {
  ::clearenv();  // it points into what goes now
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) ::_exit(0);
  for (int stream : {0, 1, 2}) ::dup2(null.get(), stream);
}

// Comes back only from a tool call, when this process can do another.
void run(const Config& config, int socket, sys::Packet start) {
  std::uint8_t flags = static_cast<std::uint8_t>(start.bytes[0]);
  if (start.fds.empty()) fail(socket, Error{Code::internal, "nothing to start"});
  auto spec = read_spec(start.fds[0].get());
  if (!spec) fail(socket, spec.error());
  if (auto taken = take_streams(flags, start.fds); !taken) fail(socket, taken.error());
  start.fds.clear();
  auto identity = find_identity(spec->user.empty() ? config.user : spec->user);
  if (!identity) fail(socket, identity.error());
  if (spec->pty)
    if (auto opened = open_terminal(socket, *spec, *identity); !opened)
      fail(socket, opened.error());
  if (spec->kind == wire::Kind::file && spec->argv[0] == "folder")
    if (auto given = give_folder(spec->argv[1], *identity); !given) fail(socket, given.error());
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
      (void)sys::send_packet(socket, std::string(1, kReady), {}, 0);
      if (!run_tool_call(socket, spec->argv, *dir)) ::_exit(0);
      return let_go();
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
    for (;;) {
      run(config, socket, std::move(start));
      if (!sys::send_packet(socket, std::string(1, kDone), {}, 0)) ::_exit(0);
      auto next = sys::receive_packet(socket, kStartMessage, kStartFds);
      if (!next || next->bytes.empty()) ::_exit(0);
      start = std::move(*next);
    }
  } catch (const std::exception& error) {  // out of memory, most likely
    fail(socket, Error{Code::internal, error.what()});
  }
}

}  // namespace glovebox::hand

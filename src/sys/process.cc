#include "sys/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"

namespace glovebox::sys {

Result<Process> Process::adopt(pid_t child) {
  int fd = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
  if (fd < 0) return sys_error(str("pidfd_open ", child));
  return Process(child, Fd(fd));
}

Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  end();
  pid_ = other.pid_;
  pidfd_ = std::move(other.pidfd_);
  return *this;
}

Process::~Process() { end(); }

void Process::end() {
  if (!pidfd_) return;
  (void)signal(SIGKILL);
  pollfd event{pidfd_.get(), POLLIN,
               0};  // An event loop may have made it non-blocking (waitid: EAGAIN).
  while (::poll(&event, 1, -1) < 0 && errno == EINTR) {
  }
  (void)reap();
}

Result<void> Process::signal(int signo) {
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signo, nullptr, 0) < 0 && errno != ESRCH)
    return sys_error(str("signal ", signo, " to ", pid_));
  return ok;
}

Result<std::optional<int>> Process::try_reap() {
  int status = 0;
  pid_t got = ::waitpid(pid_, &status, WNOHANG);
  if (got < 0) return sys_error(str("wait for ", pid_));
  if (got == 0) return std::optional<int>{};
  pidfd_.reset();
  return std::optional<int>{status};
}

Result<int> Process::reap() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0)
    if (errno != EINTR) return sys_error(str("wait for ", pid_));
  pidfd_.reset();
  return status;
}

namespace {

// Everything the child needs, made before the fork: between fork and exec stand plain system calls.
struct Prepared {
  std::vector<char*> argv, envp;
  std::vector<std::pair<int, int>> fds;
  const char* program;
  const char* cwd;
  pid_t parent;
};

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const auto& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

[[noreturn]] void run_child(const SpawnSpec& spec, Prepared& prepared, int report) {
  auto fail = [&] {
    int error = errno;
    [[maybe_unused]] auto n = ::write(report, &error, sizeof error);
    ::_exit(127);
  };
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  if (spec.new_session) ::setsid();
  // First out of the way of the numbers wanted, then to them.
  constexpr int kAbove = 200;
  for (auto& [from, to] : prepared.fds)
    if ((from = ::fcntl(from, F_DUPFD_CLOEXEC, kAbove)) < 0) fail();
  if ((report = ::fcntl(report, F_DUPFD_CLOEXEC, kAbove)) < 0) ::_exit(127);
  int highest = 2;
  for (auto& [from, to] : prepared.fds) {
    if (::dup2(from, to) < 0) fail();
    highest = std::max(highest, to);
  }
  int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd <= highest; ++fd) {
    bool given = false;
    for (auto& [from, to] : prepared.fds) given |= to == fd;
    if (given) continue;
    if (fd <= 2) {
      if (null < 0 || ::dup2(null, fd) < 0) fail();
    } else {
      ::close(fd);
    }
  }
  ::syscall(SYS_close_range, highest + 1, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
  if (::chdir(prepared.cwd) < 0) fail();
  if (spec.user) {
    if (::setgroups(0, nullptr) < 0) fail();
    if (::setresgid(spec.user->second, spec.user->second, spec.user->second) < 0) fail();
    if (::setresuid(spec.user->first, spec.user->first, spec.user->first) < 0) fail();
  }
  // After the change of user, which clears it. A parent that ended before this is noticed as well.
  if (spec.parent_death &&
      (::prctl(PR_SET_PDEATHSIG, spec.parent_death) < 0 || ::getppid() != prepared.parent))
    fail();
  ::execve(prepared.program, prepared.argv.data(), prepared.envp.data());
  fail();
  ::_exit(127);
}

}  // namespace

Result<Process> spawn(const SpawnSpec& spec) {
  Prepared prepared{pointers(spec.args),  pointers(spec.env), spec.fds,
                    spec.program.c_str(), spec.cwd.c_str(),   ::getpid()};
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return sys_error("pipe");
  Fd read_end(ends[0]), write_end(ends[1]);
  pid_t pid = ::fork();
  if (pid < 0) return sys_error("fork");
  if (pid == 0) run_child(spec, prepared, write_end.get());
  write_end.reset();
  TRY(process, Process::adopt(pid));
  int error = 0;
  ssize_t got;
  while ((got = ::read(read_end.get(), &error, sizeof error)) < 0 && errno == EINTR) {
  }
  if (got > 0) return sys_error(str("run ", spec.program), error);  // dropping `process` reaps it
  return process;
}

}  // namespace glovebox::sys

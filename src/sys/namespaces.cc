#include "sys/namespaces.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace glovebox::sys {

namespace {

Result<void> write_map(const std::string& path, uid_t base) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return sys_error(str("open ", path));
  std::string line = str("0 ", base, " ", kIdsPerBox, "\n");
  if (::write(fd.get(), line.data(), line.size()) < 0) return sys_error(str("write ", path));
  return ok;
}

bool raise_loopback() {
  Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  return fd && ::ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0;
}

// The helper: makes the user namespace, waits for its maps, makes the others (so that they belong
// to it), and waits to be let go. It says how far it got with one byte each: 0, or the errno.
[[noreturn]] void hold_namespaces(int channel, uid_t base) {
  auto say = [&](bool done) {
    unsigned char error = done ? 0 : static_cast<unsigned char>(errno);
    if (::write(channel, &error, 1) != 1 || error) ::_exit(1);
  };
  char go;
  // Who makes a user namespace pays for what is counted in it (inotify, epoll, nested name spaces):
  // the box's own id, not root, whose counts the host needs. The capabilities stay, for hosts where
  // only they allow the call.
  ::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
  say(::syscall(SYS_setresgid, base, base, base) == 0 &&
      ::syscall(SYS_setresuid, base, base, base) == 0 && ::unshare(CLONE_NEWUSER) == 0);
  if (::read(channel, &go, 1) != 1) ::_exit(1);
  say(::unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) == 0 &&
      raise_loopback());
  [[maybe_unused]] auto n = ::read(channel, &go, 1);
  ::_exit(0);
}

Result<void> heard(int channel, const char* what) {
  unsigned char error = 0;
  ssize_t n;
  while ((n = ::read(channel, &error, 1)) < 0 && errno == EINTR) {
  }
  if (n != 1) return Error{Code::internal, str(what, ": the helper died")};
  if (error) return sys_error(what, error);
  return ok;
}

Result<Namespaces> collect(pid_t helper, int channel, uid_t base) {
  std::string proc = str("/proc/", helper, "/");
  TRY_DO(heard(channel, "make user namespace"));
  TRY_DO(write_map(proc + "uid_map", base));
  TRY_DO(write_map(proc + "gid_map", base));
  if (::write(channel, "g", 1) != 1) return sys_error("let the helper go on");
  TRY_DO(heard(channel, "make network, ipc, host name and control group namespaces"));
  Namespaces made;
  for (auto& [fd, name] : {std::pair{&made.user, "user"},
                           {&made.net, "net"},
                           {&made.ipc, "ipc"},
                           {&made.uts, "uts"},
                           {&made.cgroup, "cgroup"}}) {
    fd->reset(::open((proc + "ns/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!*fd) return sys_error(str("open namespace ", name));
  }
  return made;
}

}  // namespace

Result<Namespaces> make_namespaces(uid_t base, int group) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return sys_error("socketpair");
  Fd ours(ends[0]), theirs(ends[1]);
  clone_args args{};
  args.flags = group < 0 ? 0 : CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.cgroup = group < 0 ? 0 : static_cast<std::uint64_t>(group);
  auto helper = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  if (helper < 0) return sys_error("fork");
  if (helper == 0) {
    ours.reset();
    hold_namespaces(theirs.get(), base);
  }
  theirs.reset();
  auto made = collect(helper, ours.get(), base);
  ours.reset();  // the helper reads the end of it and goes
  ::kill(helper, SIGKILL);
  while (::waitpid(helper, nullptr, 0) < 0 && errno == EINTR) {
  }
  return made;
}

Result<void> enter(const Namespaces& namespaces) {
  // The user namespace first: the others belong to it.
  for (auto [fd, type] : {std::pair{namespaces.user.get(), CLONE_NEWUSER},
                          {namespaces.net.get(), CLONE_NEWNET},
                          {namespaces.ipc.get(), CLONE_NEWIPC},
                          {namespaces.uts.get(), CLONE_NEWUTS},
                          {namespaces.cgroup.get(), CLONE_NEWCGROUP}})
    if (::setns(fd, type) < 0) return sys_error("enter namespace");
  return ok;
}

}  // namespace glovebox::sys

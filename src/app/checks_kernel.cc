#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "app/checks.h"
#include "base/clock.h"
#include "base/fd.h"
#include "sys/cgroup.h"
#include "sys/process.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

Finding failed(const Error& error) { return {Verdict::missing, error.what}; }

Finding kernel(const Machine&) {
  utsname system{};
  ::uname(&system);
  int major = 0, minor = 0;
  std::sscanf(system.release, "%d.%d", &major, &minor);
  return {major > 6 || (major == 6 && minor >= 1) ? Verdict::ok : Verdict::missing, system.release};
}

Finding root(const Machine&) {
  if (::geteuid() != 0) return {Verdict::missing, str("user ", ::geteuid())};
  auto status = sys::read_file("/proc/self/status", 64 * 1024);
  if (!status) return failed(status.error());
  std::uint64_t capabilities = 0;
  for (const std::string& line : split(*status, '\n'))
    if (line.starts_with("CapEff:")) std::sscanf(line.c_str(), "CapEff: %lx", &capabilities);
  // Those the engine uses; capability numbers are the kernel's.
  constexpr std::pair<int, const char*> kNeeded[] = {
      {0, "CHOWN"},      {1, "DAC_OVERRIDE"}, {5, "KILL"},        {6, "SETGID"},    {7, "SETUID"},
      {12, "NET_ADMIN"}, {18, "SYS_CHROOT"},  {19, "SYS_PTRACE"}, {21, "SYS_ADMIN"}};
  std::string lacking;
  for (auto [bit, name] : kNeeded)
    if (!(capabilities >> bit & 1)) lacking += str(lacking.empty() ? "" : " ", name);
  if (!lacking.empty()) return {Verdict::missing, "root without " + lacking};
  return {Verdict::ok, "root, with all that is needed"};
}

Finding resource(const Machine&) {
  auto status = sys::read_file("/proc/self/status", 64 * 1024);
  std::uint64_t capabilities = 0;
  if (status)
    for (const std::string& line : split(*status, '\n'))
      if (line.starts_with("CapEff:")) std::sscanf(line.c_str(), "CapEff: %lx", &capabilities);
  bool there = capabilities >> 24 & 1;
  return {there ? Verdict::ok : Verdict::warn,
          there ? "there" : "not there: limits stay as they are"};
}

Finding namespaces(const Machine& machine) { return run_probe(machine, {"namespaces"}); }
Finding box_root(const Machine& machine) { return run_probe(machine, {"box-root", machine.disk}); }

Finding namespace_limits(const Machine& machine) {
  std::string low;
  for (const char* kind : {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"}) {
    auto text = sys::read_file(str("/proc/sys/user/max_", kind, "_namespaces"), 64);
    auto most = text ? parse_int<std::int64_t>(trim(*text)) : std::nullopt;
    if (most && *most < machine.config.engine.max_sandboxes + machine.config.engine.blanks)
      low += str(low.empty() ? "" : ", ", kind, " ", *most);
  }
  if (low.empty())
    return {Verdict::ok, str("enough for ", machine.config.engine.max_sandboxes, " sandboxes")};
  return {Verdict::warn, "too few: " + low};
}

Finding cgroups(const Machine&) {
  auto roots = sys::find_cgroups();
  if (!roots) return failed(roots.error());
  std::string found = str(sys::name(roots->layout), ", version 2 at ", roots->unified);
  if (roots->missing.empty()) return {Verdict::ok, found + "; limits for cpu, memory, pids"};
  std::string missing;
  for (const std::string& controller : roots->missing)
    missing += str(missing.empty() ? "" : ", ", controller);
  return {Verdict::warn, found + "; no limit for " + missing};
}

Result<void> put(const std::string& path, std::string_view text) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), text.data(), text.size()) < 0) return sys_error(path);
  return ok;
}

// cgroup.events holds "frozen 0|1", and says by POLLPRI when that changes.
Result<void> wait_frozen(const std::string& group) {
  Fd fd(::open((group + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return sys_error(group + "/cgroup.events");
  for (int tries = 0; tries < 10; ++tries) {
    char text[256];
    ssize_t n = ::pread(fd.get(), text, sizeof text, 0);
    if (n > 0 && std::string_view(text, static_cast<std::size_t>(n)).find("frozen 1") !=
                     std::string_view::npos)
      return ok;
    pollfd event{fd.get(), POLLPRI, 0};
    ::poll(&event, 1, 200);
  }
  return Error{Code::timeout, "freezing takes too long"};
}

// A group of our own, with a throw-away process in it: frozen, then killed.
Result<void> freeze_and_kill(const std::string& group, const Machine& machine) {
  sys::SpawnSpec child{.program = machine.program, .args = {"glovebox", "probe", "wait"}};
  TRY(process, sys::spawn(child));
  TRY_DO(put(group + "/cgroup.procs", str(process.pid())));
  TRY_DO(put(group + "/cgroup.freeze", "1"));
  TRY_DO(wait_frozen(group));
  TRY_DO(put(group + "/cgroup.kill", "1"));
  pollfd event{process.exit_event(), POLLIN, 0};
  if (::poll(&event, 1, 5000) <= 0) return Error{Code::timeout, "cgroup.kill did not kill"};
  TRY_DO(process.reap());
  return ok;
}

Finding freezer(const Machine& machine) {
  auto roots = sys::find_cgroups();
  if (!roots) return failed(roots.error());
  std::string group = str(roots->unified, "/glovebox-doctor-", ::getpid());
  if (::mkdir(group.c_str(), 0755) < 0) return failed(sys_error("make " + group));
  auto done = freeze_and_kill(group, machine);
  for (int tries = 0; ::rmdir(group.c_str()) < 0 && errno == EBUSY && tries < 100; ++tries)
    ::usleep(1000);
  if (!done) return failed(done.error());
  return {Verdict::ok, "froze and killed a group"};
}

Finding seccomp(const Machine&) {
  unsigned action = SECCOMP_RET_ERRNO;
  if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
    return failed(sys_error("seccomp"));
  return {Verdict::ok, "filters"};
}

Finding openat2(const Machine&) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  Fd top(::open("/", O_PATH | O_CLOEXEC));
  Fd fd(static_cast<int>(::syscall(SYS_openat2, top.get(), "proc", &how, sizeof how)));
  if (!fd) return failed(sys_error("openat2"));
  return {Verdict::ok, "paths can be confined"};
}

Finding pidfd(const Machine&) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!fd || ::syscall(SYS_pidfd_send_signal, fd.get(), 0, nullptr, 0) < 0)
    return failed(sys_error("pidfd"));
  return {Verdict::ok, "processes by descriptor"};
}

}  // namespace

std::span<const Check> kernel_checks() {
  static const Check kChecks[] = {
      {"kernel", true, "everything a sandbox is made of", "sandboxes need Linux 6.1 or newer",
       kernel},
      {"root", true, "the engine makes namespaces, mounts and control groups",
       "run as root, in the machine's own namespaces (in a container: privileged)", root},
      {"CAP_SYS_RESOURCE", false, "raising the limit of open files for many sandboxes",
       "grant the capability, or raise the limit before starting", resource},
      {"user namespaces", true, "a sandbox's own users, network, processes, mounts and names",
       "a kernel with CONFIG_USER_NS and CONFIG_NET_NS; user.max_*_namespaces above 0", namespaces},
      {"namespace limits", false, "as many sandboxes as the engine may make",
       "raise them: sysctl user.max_net_namespaces=… (and the others named)", namespace_limits},
      {"box root", true, "overlay with idmapped layers on the state directory's disk",
       "a kernel with CONFIG_OVERLAY_FS (modprobe overlay), and the state directory on ext4, xfs "
       "or btrfs",
       box_root},
      {"control groups", true, "limits of a sandbox, and finding all its processes",
       "mount version 2: mount -t cgroup2 none /sys/fs/cgroup; boot with the missing controllers "
       "enabled",
       cgroups},
      {"freeze and kill", true, "pausing a sandbox, ending it whole",
       "cgroup.freeze and cgroup.kill of version 2 (Linux 5.14)", freezer},
      {"seccomp", true, "the system calls a sandbox may make",
       "a kernel with CONFIG_SECCOMP_FILTER", seccomp},
      {"openat2", true, "opening paths of a sandbox without leaving it",
       "Linux 5.6; a container runtime may be filtering it", openat2},
      {"pidfd", true, "processes that cannot be mistaken for others",
       "Linux 5.4; a container runtime may be filtering it", pidfd},
  };
  return kChecks;
}

}  // namespace glovebox::app

#include "hand/group.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <csignal>

namespace glovebox::hand {
namespace {

constexpr std::size_t kMaxList = 64 * 1024;  // of a group's list of processes

}  // namespace

Result<Group> Group::make(int parent, std::string name) {
  Group group;
  if (parent < 0) return group;
  if (::mkdirat(parent, name.c_str(), 0755) < 0 && errno != EEXIST)
    return sys_error(str("control group ", name));
  group.dir_ = Fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group.dir_) return sys_error(str("control group ", name));
  group.parent_ = parent;
  group.name_ = std::move(name);
  return group;
}

void Group::kill() {
  if (!dir_) {
    if (leader_ > 0) ::kill(-leader_, SIGKILL);
    return;
  }
  Fd file(::openat(dir_.get(), "cgroup.kill", O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), "1", 1) != 1) (void)signal(SIGKILL);
}

Result<void> Group::signal(int number) {
  if (!dir_) {
    if (leader_ > 0 && ::kill(-leader_, number) == 0) return ok;
    return Error{Code::not_found, "no process is left"};
  }
  // Who is forked while this goes on may be missed. Only SIGKILL must win against that, and it goes
  // by cgroup.kill.
  Fd file(::openat(dir_.get(), "cgroup.procs", O_RDONLY | O_CLOEXEC));
  std::string list;
  char part[4096];
  for (ssize_t n;
       file && list.size() < kMaxList && (n = ::read(file.get(), part, sizeof part)) > 0;)
    list.append(part, static_cast<std::size_t>(n));
  bool reached = false;
  for (const auto& line : split(list, '\n'))
    if (auto pid = parse_int<pid_t>(line); pid && *pid > 0 && ::kill(*pid, number) == 0)
      reached = true;
  if (!reached) return Error{Code::not_found, "no process is left"};
  return ok;
}

bool Group::remove_if_empty() {
  if (!dir_) {
    if (leader_ > 0 && ::kill(-leader_, 0) == 0) return false;
    leader_ = 0;
    return true;
  }
  if (::unlinkat(parent_, name_.c_str(), AT_REMOVEDIR) < 0 && errno != ENOENT) return false;
  dir_.reset();
  leader_ = 0;
  return true;
}

Fd Group::watch_empty() const {
  if (!dir_) return Fd();
  Fd events(::openat(dir_.get(), "cgroup.events", O_RDONLY | O_CLOEXEC));
  char text[256];
  // What was read is what later changes are told against.
  if (events && ::read(events.get(), text, sizeof text) < 0) return Fd();
  return events;
}

}  // namespace glovebox::hand

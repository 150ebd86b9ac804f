#include "app/leftovers.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>

#include "app/state.h"
#include "base/clock.h"
#include "base/log.h"

namespace glovebox::app {

// Numbers are used again: is it still a program of ours?
static bool runs(pid_t pid, const std::string& program) {
  char target[4096];
  ssize_t n = ::readlink(str("/proc/", pid, "/exe").c_str(), target, sizeof target);
  return n > 0 && std::string_view(target, static_cast<std::size_t>(n)).starts_with(program);
}

void await_leftovers(const std::string& state, const std::string& program) {
  auto endpoints = read_endpoints(state);
  if (!endpoints) return;
  auto until = std::chrono::steady_clock::now() + 30s;
  for (const PartStatus& part : endpoints->parts) {
    if (part.pid == 0) continue;
    Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, part.pid, 0)));
    if (!pidfd || !runs(part.pid, program)) continue;
    log::warn("part.left_over", {{"name", part.name}, {"pid", part.pid}});
    auto left = std::chrono::ceil<Millis>(until - std::chrono::steady_clock::now());
    pollfd event{pidfd.get(), POLLIN, 0};
    ::poll(&event, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
  }
}

}  // namespace glovebox::app

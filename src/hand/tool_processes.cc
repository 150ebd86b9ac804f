#include <sys/epoll.h>
#include <sys/wait.h>

#include "hand/server.h"

// Making a process for each tool call costs more than most calls do. So one that has done a call is
// kept for the next of the same user, with its control group; whoever kills it costs us a new one.
namespace glovebox::hand {
namespace {

constexpr std::size_t kIdleTools = 2;

}  // namespace

void Hand::tool_done(Process& process) {
  // Who still has the shell is not done.
  if (!process.running() || bash_holder_ == process.info.handle) return kill(process);
  auto pid = static_cast<pid_t>(process.info.pid);
  IdleTool idle{pid, std::exchange(process.group, Group()), std::move(process.control),
                std::move(process.tool_user)};
  process.group_gone = true;
  running_.erase(pid);
  siginfo_t end{};
  end.si_code = CLD_EXITED;
  ended(process, end);
  if (stopping_ || idle_tools_.size() >= kIdleTools) return nursery_.bury(std::move(idle.group));
  idle.socket.rename(Source::idle_tool, process.info.handle);
  idle_tools_.emplace(process.info.handle, std::move(idle));
}

std::optional<Blank> Hand::take_idle_tool(const wire::StartSpec& spec) {
  for (auto& [id, idle] : idle_tools_) {
    if (idle.user != spec.user) continue;
    Blank taken{nursery_.new_id(), idle.pid, std::move(idle.group), std::move(idle.socket)};
    idle_tools_.erase(id);
    return taken;
  }
  return std::nullopt;
}

void Hand::lose_idle_tool(std::uint64_t id) {
  auto found = idle_tools_.extract(id);
  if (found) nursery_.bury(std::move(found.mapped().group));
}

void Hand::end_idle_tools() {
  while (!idle_tools_.empty()) lose_idle_tool(idle_tools_.begin()->first);
}

}  // namespace glovebox::hand

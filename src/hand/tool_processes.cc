#include <sys/wait.h>

#include "hand/child.h"
#include "hand/server.h"
#include "sys/packet.h"

// What tool calls say. Making a process for each tool call costs more than most calls do. So one
// that has done a call is kept for the next of the same user, with its control group; whoever kills
// it costs us a new one.
namespace glovebox::hand {
namespace {

constexpr std::size_t kIdleTools = 2;
constexpr int kWordsAtOnce = 64;  // then others have their turn

}  // namespace

void Hand::on_control(Process& process) {
  for (int words = 0; process.control && keep_answer(process); ++words) {
    if (process.last_word) return tool_done(process);
    if (words == kWordsAtOnce) return;
    auto packet = sys::receive_packet(process.control.get(), kChildMessage, 0);
    if (!packet && packet.error().code == Code::exhausted) return;
    if (!packet || packet->bytes.empty()) return process.control.reset();
    if (!on_word(process, packet->bytes)) return;
  }
}

// False: it has said nonsense, and is killed.
bool Hand::on_word(Process& process, std::string_view words) {
  const char word = words[0], shell = words.size() > 1 ? words[1] : '\0';
  switch (word) {
    case kReady: return true;
    case kNeedShell: need_shell(process, shell == 1); return true;
    case kOutput:
      if (words.size() < 2) break;
      process.answer = words.substr(1);
      return true;
    case kDone:
    case kLast: {
      const std::uint64_t handle = process.info.handle;
      // Only who has the shell knows how it is.
      if (words.size() < 2 || (shell != kNoneUsed && bash_holder_ != handle)) break;
      if (shell == kShellDead) kill_shell();
      take_back_shell(handle);
      process.answer = words.substr(2);
      process.last_word = word;
      return true;
    }
    default: break;
  }
  kill(process);
  return false;
}

void Hand::go_on_with_answers() {
  for (std::uint64_t handle : std::exchange(held_answers_, {})) {
    auto found = processes_.find(handle);
    if (found == processes_.end()) continue;
    Process& process = *found->second;
    if (process.running())
      on_control(process);
    else if (keep_answer(process))
      check_drained(process);
  }
}

void Hand::tool_done(Process& process) {
  if (!process.running()) return;
  // All that there is to start has been started.
  settling_.worked();
  auto pid = static_cast<pid_t>(process.info.pid);
  IdleTool idle{pid, std::exchange(process.group, Group()), std::move(process.control),
                std::move(process.tool_user)};
  process.group_gone = true;
  running_.erase(pid);
  ended(process, {});
  if (stopping_ || process.last_word == kLast || idle_tools_.size() >= kIdleTools)
    return nursery_.bury(std::move(idle.group));
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

#include <sys/epoll.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "hand/server.h"

namespace glovebox::hand {
namespace {

// What a program's children still write in the moment it ends belongs to it; a server it started
// may stay for ever.
constexpr auto kDrainLimit = 100ms;

}  // namespace

void Hand::reap() {
  for (;;) {
    // Looked at first and reaped last: until then its pid can mean nobody else, and whose it is may
    // still be on its way.
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0) break;
    nursery_.on_helper(now());
    launch_waiting();
    for (auto& [id, start] : starts_)
      if (start.pid == info.si_pid && start.handle != 0) {
        on_start(id);  // its socket is closed: this tells it
        break;
      }
    hear_last_words(info.si_pid);
    siginfo_t ignored{};
    ::waitid(P_PID, static_cast<id_t>(info.si_pid), &ignored, WEXITED | WNOHANG);
    reaped(info.si_pid, info);
  }
  nursery_.sweep();
  start_shell();
  for (auto& [handle, process] : processes_)
    if (!process->running() && !process->group_gone) leader_gone(*process);
}

// What a tool call said before it died is in its socket.
void Hand::hear_last_words(pid_t pid) {
  auto found = running_.find(pid);
  if (found == running_.end()) return;
  Process& process = *processes_.at(found->second);
  if (!process.killed_by_us && process.answer.empty()) on_control(process);
}

void Hand::reaped(pid_t pid, const siginfo_t& info) {
  auto found = running_.find(pid);
  if (found != running_.end()) {
    std::uint64_t handle = found->second;
    running_.erase(found);
    return ended(*processes_.at(handle), info);
  }
  if (pid == shell_.pid) return kill_shell();
  for (auto& [id, idle] : idle_tools_)
    if (idle.pid == pid) return lose_idle_tool(id);
  (void)nursery_.reaped(pid, now());  // or an orphan of the tenant's, which is nobody's
}

void Hand::ended(Process& process, const siginfo_t& info) {
  // A tool call that has told its result is done, whatever becomes of its process.
  const bool done = process.last_word != 0;
  process.info.ended_ms = system_clock().unix_ms();
  if (done || info.si_code == CLD_EXITED) {
    process.info.status = wire::Status::exited;
    process.info.exit_code = done ? 0 : info.si_status;
  } else {
    process.info.status = wire::Status::signaled;
    process.info.signal = static_cast<std::uint32_t>(info.si_status);
    if (info.si_status == SIGKILL && !process.killed_by_us && oom_.explains_kill(now()))
      process.info.status = wire::Status::oom_killed;
  }
  process.deadline = Time::max();
  process.drain_until = now() + kDrainLimit;
  fail_input(process);
  process.control.reset();
  if (!done) std::string().swap(process.answer);
  bash_call_ended(process.info.handle);
  process.shell_spec.reset();
  if (process.one_shot) process.group.kill();
  leader_gone(process);
  read_output(process, process.out, wire::kStdout);
  read_output(process, process.err, wire::kStderr);
  (void)has_unread(process);
  check_drained(process);
  if (!process.forgotten) ended_.push_back(process.info.handle);
  forget_oldest();
}

void Hand::leader_gone(Process& process) {
  if (process.group_gone) return;  // its process went on to the next tool call
  process.group_gone = process.group.remove_if_empty();
  if (process.group_gone) return process.group_events.reset();
  if (process.group_events || process.group.dir() < 0) return;
  // Background processes: the group goes with the last of them. The watch begins before the second
  // look, so that no end of one is missed in between.
  process.group_events =
      Watched(poll_, process.group.watch_empty(), Source::group, process.info.handle);
  process.group_events.want(EPOLLPRI);
  process.group_gone = process.group.remove_if_empty();
  if (process.group_gone) process.group_events.reset();
}

void Hand::kill(Process& process) {
  process.killed_by_us = true;
  process.group.kill();
  // The group is made by its leader itself where there are no control groups; it may not have come
  // to it.
  if (process.running()) ::kill(static_cast<pid_t>(process.info.pid), SIGKILL);
}

// A program runs on without the engine that started it. What waits for the rest of an upload, or of
// a tool's input, would wait for ever, and must not take half of it for the whole.
void Hand::starter_gone(Process& process) {
  if (process.unlisted()) return client_gone(process);
  if (process.running() && process.info.kind != wire::Kind::exec && process.in &&
      !process.input_ended) {
    kill(process);
    // It never began: nobody may take it for the call it was to be.
    process.forgotten = process.info.kind == wire::Kind::tool;
  }
}

// Of an unlisted program: nobody else can have been told of it, nor can anybody end what it left
// behind. That goes with it, and what has got away from its group writes to nobody.
void Hand::client_gone(Process& process) {
  if (!process.group_gone) kill(process);
  process.out.reset();
  process.err.reset();
  forget(process);
}

void Hand::forget(Process& process) {
  std::erase(ended_, process.info.handle);
  forget_streams(process);
}

void Hand::forget_streams(Process& process) {
  process.forgotten = true;
  process.ring.clear();
  process.final_end = process.ring.end();
  mark_readers(process);
  process.out.want(EPOLLIN);
  process.err.want(EPOLLIN);
}

// In the order they ended, not in that they were started: a long call that ends after many short
// ones has only just become of interest. Who is still being read stays.
void Hand::forget_oldest() {
  for (auto next = ended_.begin(); ended_.size() > wire::kKeepEnded && next != ended_.end();) {
    Process& process = *processes_.at(*next);
    if (!process.readers.empty()) {
      ++next;
      continue;
    }
    forget_streams(process);
    next = ended_.erase(next);
  }
}

void Hand::erase_finished() {
  std::erase_if(processes_, [](const auto& entry) { return entry.second->finished(); });
}

}  // namespace glovebox::hand

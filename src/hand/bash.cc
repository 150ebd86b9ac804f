#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <csignal>

#include "base/log.h"
#include "hand/child.h"
#include "hand/server.h"
#include "sys/packet.h"
#include "tools/tools.h"

namespace glovebox::hand {
namespace {

constexpr Millis kDieLimit = 2s;  // for a killed shell's processes; some hang in the kernel

}  // namespace

// A bash call asks for the shell when it has read its input, and tells in which state it gives it
// back. Only one has it at a time. A call that asks while it has it wants another one.
void Hand::need_shell(Process& process, bool restart) {
  std::uint64_t handle = process.info.handle;
  if (std::ranges::any_of(bash_waiting_, [&](auto& call) { return call.handle == handle; }))
    return kill(process);
  if (bash_holder_ == handle) bash_holder_ = 0;
  bash_waiting_.push_back({handle, restart});
  serve_bash();
}

// Most calls find the shell idle: they are lent it with their start, and need not ask.
bool Hand::is_free_for(const wire::StartSpec& call) const {
  return call.argv[0] == "bash" && call.stdin_mode == wire::StdinMode::given && shell_.pid > 0 &&
         shell_.user == call.user && bash_holder_ == 0 && bash_waiting_.empty();
}

void Hand::lend_shell(const Start& call, std::vector<int>& fds) {
  bash_holder_ = call.handle;
  for (const Fd* end : {&shell_.in, &shell_.out, &shell_.control}) fds.push_back(end->get());
}

// As it is.
void Hand::take_back_shell(std::uint64_t handle) {
  if (handle == 0 || bash_holder_ != handle) return;
  bash_holder_ = 0;
  shell_wanted_ = false;
  serve_bash();
}

void Hand::serve_bash() {
  while (bash_holder_ == 0 && !bash_waiting_.empty() && !shell_starting_) {
    BashCall call = bash_waiting_.front();
    bash_waiting_.pop_front();
    auto found = processes_.find(call.handle);
    if (found == processes_.end() || !found->second->shell_spec) continue;
    const wire::StartSpec& wanted = *found->second->shell_spec;
    // A shell belongs to one user; a call for another begins anew.
    if (call.restart || (shell_.pid > 0 && shell_.user != wanted.user)) kill_shell();
    bash_holder_ = call.handle;
    if (shell_.pid > 0) return grant_shell();
    shell_wanted_ = true;
    start_shell();
  }
}

// Once the one before is gone to its last process: until then what that held (locks, ports, files)
// is not free.
void Hand::start_shell() {
  if (last_shell_ && last_shell_->remove_if_empty()) last_shell_.reset();
  if (!shell_wanted_ || (last_shell_ && now() < last_shell_until_)) return;
  if (last_shell_) nursery_.bury(std::move(*last_shell_));
  last_shell_.reset();
  shell_wanted_ = false;
  const wire::StartSpec& wanted = *processes_.at(bash_holder_)->shell_spec;
  wire::StartSpec spec;
  spec.argv = tools::shell_argv();
  spec.env = wanted.env;
  spec.cwd = wanted.cwd;
  spec.user = wanted.user;
  std::string payload = wire::encode(spec);
  shell_starting_ = true;
  enqueue({.spec = std::move(spec), .payload = std::move(payload), .is_shell = true}, true);
}

void Hand::grant_shell() {
  Process& call = *processes_.at(bash_holder_);
  // If it cannot be told, it is ending, and that ends the call.
  (void)sys::send_packet(call.control.get(), std::string(1, kGrant),
                         {shell_.in.get(), shell_.out.get(), shell_.control.get()}, MSG_DONTWAIT);
}

void Hand::shell_started(Start& start) {
  shell_starting_ = false;
  shell_.pid = start.pid;
  shell_.group = std::move(start.group);
  shell_.in = std::move(start.in);
  shell_.out = std::move(start.out);
  shell_.control = std::move(start.control);
  shell_.user = start.spec.user;
  if (bash_holder_ != 0) return grant_shell();
  serve_bash();
}

void Hand::shell_failed(const Error& error) {
  shell_starting_ = false;
  std::uint64_t handle = std::exchange(bash_holder_, 0);
  if (auto call = processes_.find(handle); call != processes_.end() && call->second->control)
    (void)sys::send_packet(call->second->control.get(),
                           str(static_cast<char>(kNoShell), error.what), {}, MSG_DONTWAIT);
  serve_bash();
}

// With everything it left in the background.
void Hand::kill_shell() {
  if (shell_.pid == 0) return;
  if (shell_.group.dir() < 0) ::kill(shell_.pid, SIGKILL);
  shell_.group.kill();
  if (last_shell_) nursery_.bury(std::move(*last_shell_));
  last_shell_ = std::move(shell_.group);
  last_shell_until_ = now() + kDieLimit;
  shell_ = Shell{};
}

void Hand::bash_call_ended(std::uint64_t handle) {
  std::erase_if(bash_waiting_, [&](const BashCall& call) { return call.handle == handle; });
  if (bash_holder_ != handle) return;
  // It ended without giving the shell back: nobody knows what that is doing now.
  if (!shell_starting_) kill_shell();
  shell_wanted_ = false;
  bash_holder_ = 0;
  serve_bash();
}

}  // namespace glovebox::hand

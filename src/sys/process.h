// A child process held by its pidfd, and the one way to start a program.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

// A running child: the handle can never come to mean some other process. Dropping it ends the
// child. (What must outlive us is released with detach().)
class Process {
 public:
  static Result<Process> adopt(pid_t child);
  Process(Process&& other) noexcept = default;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  int exit_event() const { return pidfd_.get(); }  // readable once the child has exited
  Result<void> signal(int signo);
  Result<int> reap();  // wait status as of waitpid; call when exit_event() is readable
  Result<std::optional<int>> try_reap();
  void detach() { pidfd_.reset(); }

 private:
  Process(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  void end();
  pid_t pid_ = 0;
  Fd pidfd_;
};

struct SpawnSpec {
  std::string program;            // a path
  std::vector<std::string> args;  // with argv[0]
  std::vector<std::string> env;   // "K=V": nothing is inherited
  std::vector<std::pair<int, int>>
      fds;  // {ours, its number in the child}; all others are closed. 0, 1, 2 default to /dev/null
  std::string cwd = "/";
  bool new_session = false;                     // setsid: outlives our terminal
  int parent_death = 0;                         // signal that it gets when our thread ends; 0: none
  std::optional<std::pair<uid_t, gid_t>> user;  // supplementary groups are dropped
};
// A program that cannot be run is an error of this call, not an exit code 127.
Result<Process> spawn(const SpawnSpec& spec);

}  // namespace glovebox::sys

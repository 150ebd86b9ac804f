// Signals are read by the loop, not caught: blocked in all threads for as long as this lives. A
// write to a pipe that nobody reads is an error then, and no signal.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <initializer_list>

namespace glovebox::cli {

class BlockedSignals {
 public:
  explicit BlockedSignals(std::initializer_list<int> signals) {
    sigset_t set;
    sigemptyset(&set);
    for (int signo : signals) sigaddset(&set, signo);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    old_pipe_ = ::signal(SIGPIPE, SIG_IGN);
  }
  ~BlockedSignals() {
    ::signal(SIGPIPE, old_pipe_);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  BlockedSignals(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
  void (*old_pipe_)(int);
};

}  // namespace glovebox::cli

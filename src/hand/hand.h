// The hand: process 1 of a box. It does what it is told over one byte stream (wire/hand.h) and
// knows no secret.
//
// Three kinds of process:
//   the hand        one poll() loop; protocol, rings, timers, reaping. Never opens a path of the
//   tenant. In `box/hand`. the helper      forked from it without exec, in the tenant's cgroup
//   `box/user`, under the tenant's seccomp filter and with
//                   the box's user: a template that forks (CLONE_PARENT: the hand stays the parent
//                   and learns every exit) what is to run. It may be killed at any time; the hand
//                   makes a new one, and what runs is not touched.
//   the children    programs (exec), or file operations and tool calls (no exec). Each in a cgroup
//   of its own below `user`.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::hand {

struct Config {
  Fd listener;     // a listening Unix stream socket; the hand calls listen() on it again, so that
                   // SO_PEERCRED names the hand
  Fd user_cgroup;  // directory of `box/user` in the version 2 hierarchy, writable by us; none: no
                   // cgroups (tests, worker)
  // "cgroup.procs" of version 1 controllers' groups for the tenant, open for writing; the helper
  // writes "0" to each.
  std::vector<Fd> join;
  Fd oom_events;  // memory.events (v2) or memory.oom_control (v1) of the tenant: holds a line
                  // "oom_kill N"
  std::vector<sock_filter> filter;   // the tenant's seccomp filter; empty: none (tests)
  std::vector<std::string> env;      // "K=V": what every process starts with
  std::string cwd = "/";             // the work directory
  std::string user;                  // default user of processes; empty: who we are
  std::vector<int> cpus;             // affinity of the tenant; empty: as it is
  std::uint64_t max_open_files = 0;  // RLIMIT_NOFILE of the tenant; 0: as it is
  std::uint64_t max_file_bytes = 0;  // RLIMIT_FSIZE of the tenant; 0: as it is
  bool is_init =
      true;  // process 1: reaps everything, forwards SIGTERM to all, powers off at the end
};

// Serves until shutdown is asked for; gives the exit code of the process. Single thread, no
// allocation that grows without limit.
int serve(Config config);

}  // namespace glovebox::hand

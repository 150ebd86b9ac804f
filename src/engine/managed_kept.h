// Inside ManagedProcesses: one of them. For managed*.cc.
#pragma once

#include "engine/managed.h"
#include "net/loop.h"

namespace glovebox::engine {

struct ManagedProcesses::Kept {
  std::string sandbox;
  std::string request;  // as it came; spec and managed.spec are made of it
  wire::StartSpec spec;
  wire::Managed managed;
  wire::ProcessInfo info;      // handle 0: none was ever started
  std::uint64_t previous = 0;  // the one before `info`: what it said can still be read
  std::int64_t attempt_ms = 0;
  std::int64_t restarts_used = 0;  // of max_restarts: not those that were asked for
  int short_lives = 0;             // in a row: how far the pause has grown
  bool unhealthy = false;          // why we killed it

  bool forgotten = false;  // of the record; tasks end
  bool supervised = false;
  bool launching = false;  // on disk: its handle is not known
  bool wants_stop = false, wants_restart = false;
  std::uint64_t attempts = 0;         // starts that were tried
  std::optional<Error> start_failed;  // the last of them
  net::Event changed;
};

}  // namespace glovebox::engine

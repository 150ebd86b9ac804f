// One entry of the process table: what runs or ran, its streams, and who reads them.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "hand/group.h"
#include "hand/nursery.h"
#include "hand/poll.h"
#include "hand/ring.h"
#include "wire/hand.h"

namespace glovebox::hand {

struct Reader {
  std::uint64_t connection = 0;
  std::uint32_t request = 0;
  bool hold = false;
  std::uint64_t sent = 0, acked = 0;
};

// Who is told when stdin was taken up to here.
struct InputMark {
  std::uint64_t connection = 0;  // 0: nobody
  std::uint32_t request = 0;
  std::uint64_t end = 0;
};

struct Process {
  explicit Process(RingPool& pool) : ring(pool) {}
  bool running() const { return info.status == wire::Status::running; }
  // Nobody asks for it any more, and nothing of it is left.
  bool finished() const {
    return forgotten && !running() && readers.empty() && !out && !err && group_gone;
  }
  // A program for one client alone. What it says is no part of what the box said.
  bool unlisted() const { return alone && passing; }
  // Everything that came before the end is in the ring.
  bool drained() const { return final_end != ~0ull; }

  wire::ProcessInfo info;
  Ring ring;
  std::vector<Reader> readers;
  Group group;
  bool group_gone = false;
  Watched in, out, err;  // ours of its three streams; a terminal has in and out
  Watched control;       // of a tool call: its answer comes here
  Watched group_events;  // once the leader has ended and others are left

  std::string input;  // not yet taken by it
  std::deque<InputMark> input_marks;
  std::uint64_t input_taken = 0;
  bool input_ended = false;  // no more comes

  std::uint64_t starter = 0;  // the connection that started it
  Time deadline = Time::max();
  Time drain_until = Time::max();  // after its end: how long to wait for the end of its output
  std::uint64_t final_end = ~0ull;
  // Of its output and its errors: at most so much of what it said itself is still in the pipes.
  std::uint64_t unread[2] = {~0ull, ~0ull};
  bool killed_by_us = false;
  bool one_shot = false;  // what it leaves behind goes with it
  bool forgotten = false;
  bool alone = false;                           // forgotten with its reader's `exited`
  bool passing = false;                         // bytes for one client, on their way: no log
  std::string tool_user;                        // of a tool call, here and below
  std::string answer;                           // of its result: what the ring had no room for yet
  char last_word = 0;                           // it has told all of it
  std::unique_ptr<wire::StartSpec> shell_spec;  // of a bash call: how the shell it needs is started
};

}  // namespace glovebox::hand

// The hand's side of the helper: keeps it alive and keeps blanks ready. Nothing the helper says is
// believed: a process it names is ours only if the kernel says so.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "hand/group.h"
#include "hand/hand.h"
#include "hand/helper.h"
#include "hand/poll.h"

namespace glovebox::hand {

using Time = std::chrono::steady_clock::time_point;

struct Blank {
  std::uint64_t id = 0;  // becomes the handle of the process
  pid_t pid = 0;
  Group group;
  Watched socket;
};

class Nursery {
 public:
  // `in_use` says which children have a place already.
  Nursery(Poll& poll, const Config& config, std::function<bool(pid_t)> in_use)
      : poll_(poll), config_(config), in_use_(std::move(in_use)) {}

  void adopt(Helper helper, Time now);  // one that was forked ahead
  // As many starts wait. One more blank is kept for the next.
  void want(std::size_t waiting, Time now);
  std::optional<Blank> take();
  std::uint64_t new_id() { return next_id_++; }  // for a process that is no blank's
  // Why the starts that wait cannot have a blank, once.
  std::optional<Error> take_failure() { return std::exchange(failure_, std::nullopt); }
  void on_helper(Time now);
  void on_blank(std::uint64_t id, Time now);
  bool reaped(pid_t pid, Time now);  // it was the helper or a blank
  // Gives the group up: kills what is in it, and removes it when that is gone.
  void bury(Group group);
  void sweep();  // something ended: graves may be empty
  void tick(Time now);
  Time deadline() const;
  // No more blanks; what there is goes.
  void close();

 private:
  struct Asked {
    Group group;
    Watched socket;
    Time since;
  };
  void fill(Time now);
  Result<void> ask(Time now);
  Result<void> start_helper();
  void note(std::uint64_t id, AskedBlank blank, Time now);
  void lose_helper(Time now);
  void lose_blank(std::size_t index, Time now);
  void back_off(Time now);
  bool is_ready(pid_t pid) const;

  Poll& poll_;
  const Config& config_;
  std::function<bool(pid_t)> in_use_;
  Group helper_group_;
  Watched helper_;
  pid_t helper_pid_ = 0;
  std::uint64_t next_id_ = kFirstBlank;
  std::map<std::uint64_t, Asked> asked_;
  std::deque<Blank> ready_;
  std::vector<Group> graves_;
  std::optional<Error> failure_;
  std::size_t wanted_ = 0;
  int failures_ = 0;   // of helpers and blanks, since the last blank that came to be
  Time not_before_{};  // the next attempt, after failures
  bool closed_ = false;
};

}  // namespace glovebox::hand

// The processes that belong to one call: its leader and whatever it left behind. A control group
// below the tenant's where there is one, else the leader's process group, which a program can
// leave.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::hand {

class Group {
 public:
  Group() = default;
  // `parent` < 0: no control groups here.
  static Result<Group> make(int parent, std::string name);
  Group(Group&& other) noexcept = default;
  Group& operator=(Group&& other) noexcept = default;

  int dir() const { return dir_.get(); }  // < 0: none
  void set_leader(pid_t leader) { leader_ = leader; }
  void kill();                      // SIGKILL to all, also those that are being forked right now
  Result<void> signal(int number);  // Code::not_found: nobody is left
  // True: nobody is left, and the control group is removed.
  bool remove_if_empty();
  // Gives POLLPRI when the group may have become empty; none without control groups.
  Fd watch_empty() const;

 private:
  int parent_ = -1;  // borrowed: of the hand's configuration
  std::string name_;
  Fd dir_;
  pid_t leader_ = 0;
};

}  // namespace glovebox::hand

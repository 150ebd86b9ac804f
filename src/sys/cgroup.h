// The control groups of a box. The unified (version 2) hierarchy starts, freezes and kills; limits
// are there too, or, where only version 1 controllers are mounted beside it, in one group per
// controller.
//
//   unified/<prefix>/<box>/hand    the hand alone: no limit, never frozen
//   unified/<prefix>/<box>/user    everything of the tenant; the hand makes a group per call below
//   it v1:  memory|pids|cpu/<prefix>/<box>    the tenant joins these by itself, through join_fds()
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

enum class CgroupLayout { v2, hybrid };
std::string_view name(CgroupLayout layout);

struct CgroupRoots {
  CgroupLayout layout = CgroupLayout::v2;
  std::string unified;  // mount point of the version 2 hierarchy
  std::string memory, pids,
      cpu;  // version 1 mount points; empty where absent, and all empty for v2
  std::vector<std::string>
      missing;  // controllers neither hierarchy offers: boxes run without that limit
};
Result<CgroupRoots> find_cgroups(const std::string& mountinfo = "/proc/self/mountinfo");

// Makes <prefix> in each hierarchy and hands the controllers down. Idempotent.
Result<void> prepare(const CgroupRoots& roots, const std::string& prefix);
// The boxes the kernel knows, in whole or in part (a crash may have left one half made).
Result<std::vector<std::string>> list_boxes(const CgroupRoots& roots, const std::string& prefix);
// Once all boxes are gone.
Result<void> remove_prefix(const CgroupRoots& roots, const std::string& prefix);

struct BoxLimits {
  double cpus = 1;
  std::int64_t memory_bytes = 0;
  std::int64_t pids = 0;
};

// Writes to control files, in order, that bring the limits into force. `memory_now` is the limit
// there is (0: none yet).
struct ControlWrite {
  std::string controller, file, value;
  bool optional = false;  // not every kernel has the file
};
std::vector<ControlWrite> limit_writes(CgroupLayout layout, const BoxLimits& limits,
                                       std::int64_t memory_now);

class BoxCgroups {
 public:
  // All groups of one box; Code::conflict if it has some already. `base` is the user the box's root
  // is on the host: it may start processes in `user` and make groups below it, and may not touch
  // limits, freezer or kill.
  static Result<BoxCgroups> make(const CgroupRoots& roots, const std::string& prefix,
                                 const std::string& box, uid_t base);
  static Result<std::optional<BoxCgroups>> find(const CgroupRoots& roots, const std::string& prefix,
                                                const std::string& box);

  // At any time, also in a running box. Before the first time a process may be in the box's own
  // group, after it only below.
  Result<void> set_limits(const BoxLimits& limits);
  Result<Fd> box_dir() const;   // for make_namespaces
  Result<Fd> hand_dir() const;  // for CLONE_INTO_CGROUP
  Result<Fd> user_dir() const;  // for the hand
  // The hand's on the host: no other process is ever in its group. 0: there is none.
  pid_t hand_pid() const;
  Result<std::vector<Fd>> join_fds()
      const;  // hybrid: files to write "0" to, by a process of one thread; v2: none
  Result<Fd> oom_events() const;  // holds a line "oom_kill N"
  Result<void> kill() const;      // everybody, the hand too; works on a frozen box
  Result<bool> populated() const;
  // The tenant only. Code::timeout if it is not done within `limit` (a process in uninterruptible
  // sleep): it goes on freezing.
  Result<void> freeze(bool frozen, Millis limit) const;
  Result<void> thaw() const;       // without waiting until all of them run
  Result<bool> is_frozen() const;  // or on the way to it
  // Pushes out a part of what the tenant's memory holds: to files, and to swap where there is some.
  // False: there is nothing more to be had.
  Result<bool> give_back_memory() const;
  // Of the tenant. Numbers the kernel does not keep here are 0.
  struct Usage {
    std::int64_t cpu_us = 0;  // since the box was made
    std::int64_t memory_bytes = 0;
    std::int64_t pids = 0;
    std::int64_t oom_kills = 0;
  };
  Result<Usage> usage() const;
  Result<void> remove()
      const;  // of an empty box, in whole or in part; EBUSY while a process is still dying
  Result<std::vector<pid_t>> processes() const;

 private:
  BoxCgroups(CgroupRoots roots, std::string path)
      : roots_(std::move(roots)), path_(std::move(path)) {}
  std::string unified(std::string_view below = "") const;
  std::string limits_dir(
      const std::string& controller) const;  // empty: this machine has no such controller

  CgroupRoots roots_;
  std::string path_;  // "/<prefix>/<box>", below the root of each hierarchy
};

}  // namespace glovebox::sys

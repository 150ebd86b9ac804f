// Directories of the host in the mount namespace of a box that may be running already: its volumes.
// Whoever lives in there may have prepared the place, or be busy with it right now; it gets what
// was to be mounted wherever its own links lead inside of its own root, and never gets anything
// else. All of it blocks for some microseconds, on threads of its own: for a pool.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

struct InsideMount {
  std::string source;  // a directory here
  std::string target;  // in the box; made if it is not there
  bool read_only = false;
};

// The user namespace of a process, by which files in its box are seen. `process` is its pidfd.
Result<Fd> ids_of(pid_t pid, int process);

// All or none. `base` is the first of the box's user ids; with `ids` -1 owners are as they are.
Result<void> mount_in_box(int process, int ids, uid_t base, const std::vector<InsideMount>& mounts);

struct MountedInside {
  std::uint64_t id = 0;  // the kernel's, of this mount
  std::string root;      // what of its file system is mounted
  std::string place;     // as the process sees it
};
Result<std::vector<MountedInside>> mounts_of(pid_t pid);

// What has files of it open keeps those. Code::not_found: another mount stands there by now.
Result<void> unmount_in_box(int process, const MountedInside& mount);

}  // namespace glovebox::sys

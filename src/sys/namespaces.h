// The namespaces a box lives in, made ahead of it and held by descriptor: making a network
// namespace is the slow part.
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

inline constexpr uid_t kIdsPerBox = 65536;

struct Namespaces {
  Fd user;                   // maps 0..65535 to base..base+65535
  Fd net, ipc, uts, cgroup;  // owned by `user`; only loopback in `net`, and it is up
};
// For a single-threaded process with /proc of its own pid namespace at /proc. `group` is the
// control group that is the root of all for who enters (-1: the caller's), and must be one that a
// process may be in: a moment later none is there any more.
Result<Namespaces> make_namespaces(uid_t base, int group = -1);

// Moves the calling process into them. Everything that needs the host's privileges must be done
// before.
Result<void> enter(const Namespaces& namespaces);

}  // namespace glovebox::sys

// Giving everything up before the first foreign byte: afterwards this process is root of the trees
// it was given, seen through a range of user ids of its own, and of nothing else. No network, no
// other file, no other process to be seen or started, and few system calls.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::image {

struct Trees {
  Fd tree, source;  // directories; `source` only if one was named
};
// For a single-threaded root. Files get plain owners on disk: 0 inside is 0 there. `tree` may be
// empty too; then only `source` is there, which can be read and not written.
Result<Trees> confine(uid_t base, const std::string& tree, const std::string& source);
// The same, and the tree is `layer`/u over `lower`, as a box would see it; `layer`/w is for the
// overlay's own use.
Result<Trees> confine_over(uid_t base, const std::string& lower, const std::string& layer,
                           const std::string& source);

}  // namespace glovebox::image

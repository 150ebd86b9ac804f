// Gives descriptors to a part of the gateway that runs as a user of its own: a listener that stands
// in a box's network namespace, say. The other side is gateway/intake.h.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::engine {

// A connection to `socket`, which is in a part's directory, if it is a process of that directory's
// owner that listens there. Code::unavailable: the part does not run.
Result<Fd> connect_part(const std::string& socket);

// Blocks, for a few seconds at most: for a pool.
Result<void> hand_over(const std::string& socket, const std::string& line,
                       const std::vector<int>& fds);

}  // namespace glovebox::engine

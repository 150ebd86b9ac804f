// Gives descriptors to a part of the gateway that runs as a user of its own: a listener that stands
// in a box's network namespace, say. The other side is gateway/intake.h.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace glovebox::engine {

// Blocks, for a few seconds at most: for a pool. `socket` is in the part's directory, and only a
// process of that directory's owner is given anything. Code::unavailable: the part does not run.
Result<void> hand_over(const std::string& socket, const std::string& line,
                       const std::vector<int>& fds);

}  // namespace glovebox::engine

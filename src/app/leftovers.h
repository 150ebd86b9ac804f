// After a supervisor that was killed: its parts notice and stop by themselves.
#pragma once

#include <string>

namespace glovebox::app {

// Waits, for a while, until the parts named in what a dead supervisor left behind have ended. Call
// with the lock held.
void await_leftovers(const std::string& state, const std::string& program);

}  // namespace glovebox::app

// Bodies of requests, taken apart and written anew with the members we know. Each gives an error
// for what cannot be understood in one way only.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace glovebox::gateway {

// {"events": [user.tool_result …]}: a worker answers calls of the six tools. It does not speak for
// the user, confirm calls that wait for a person, interrupt, or answer the custom tools of an
// application, which may be how that one asks for consent.
Result<std::string> rewrite_events(std::string_view json);
Result<std::string> rewrite_stop(std::string_view json);           // {"force": BOOL}, or nothing
Result<std::string> rewrite_new_memory(std::string_view json);     // {"path", "content"}
Result<std::string> rewrite_memory_change(std::string_view json);  // {"content", "path",
                                                                   // "precondition"}

}  // namespace glovebox::gateway

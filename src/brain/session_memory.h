// The memory stores of a session: attached when it is made, and never after. Only for .cc files of
// this folder.
#pragma once

#include <boost/json/fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "brain/memory_records.h"

namespace glovebox::brain {

// The `resources` of a new session, as they are shown from then on: a name and a description stay
// what they are now.
Result<boost::json::array> attach_resources(MemoryRecords& stores,
                                            const boost::json::array& requested);
// What the model is told of them; "" for none.
std::string memory_prompt(std::string_view resources);
// "read_write", "read_only", or nothing: it is not attached.
std::optional<std::string> memory_access(std::string_view resources, std::string_view store);

}  // namespace glovebox::brain

// For the .cc files of wire: the managed members inside other objects.
#pragma once

#include "wire/decode.h"
#include "wire/managed.h"

namespace glovebox::wire {

// Takes `name`, `restart` and `health_check`; nothing where none of them is there.
Result<std::optional<ManagedSpec>> take_managed(Members& members);
boost::json::object managed_json(const Managed& managed);

}  // namespace glovebox::wire

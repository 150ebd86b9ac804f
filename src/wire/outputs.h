// Where a session leaves what it made for people: a volume of its own, which outlives its box.
#pragma once

#include <string>
#include <string_view>

#include "base/str.h"

namespace glovebox::wire {

inline constexpr std::string_view kOutputsPath = "/mnt/session/outputs";

inline std::string outputs_volume(std::string_view session) { return str("outputs-", session); }

}  // namespace glovebox::wire

// Where we are installed.
#pragma once

#include <string>

#include "app/config.h"

namespace glovebox::app {

Result<std::string> own_program();  // the path of this binary
// glovebox-unpack, beside us. Where it is missing sessions go without their skills.
Result<std::string> unpack_program();
Result<std::string> hand_program(const Config& config);  // engine.hand, or the one beside us

}  // namespace glovebox::app

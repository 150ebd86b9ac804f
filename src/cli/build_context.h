#pragma once

#include <string>

#include "cli/engine_client.h"

namespace glovebox::cli {

// Sends the files of a folder, with progress; gives the name that one build may use.
Result<std::string> send_context(EngineClient& engine, const std::string& folder);

}  // namespace glovebox::cli

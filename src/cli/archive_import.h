#pragma once

#include "cli/command.h"

namespace glovebox::cli {

// Sends a file, or stdin for "-", to `target` of the engine, with progress, and prints its answer.
Result<int> import_archive(const Context& context, const std::string& path,
                           const std::string& target, Output& out);

}  // namespace glovebox::cli

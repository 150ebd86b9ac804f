// Starting the whole of it on behalf of a client.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace glovebox::app {

// For cli::Context: returns once the parts of this context's instance serve, started in the
// background if they were not. Says on stderr what it does.
Result<void> ensure_started(const cli::Context& context, cli::Output& out);
// The same, but if nothing runs these parts alone are started; none: all that belong to it.
Result<void> ensure_parts(const cli::Context& context, cli::Output& out,
                          const std::vector<std::string>& only);

}  // namespace glovebox::app

// Starting the whole of it on behalf of a client.
#pragma once

#include "cli/command.h"

namespace glovebox::app {

// For cli::Context: returns once the parts of this context's instance serve, started in the
// background if they were not. Says on stderr what it does.
Result<void> ensure_started(const cli::Context& context, cli::Output& out);

}  // namespace glovebox::app

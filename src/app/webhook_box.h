// `glovebox orchestrate --mode=webhook-sandbox`: a box that takes webhooks, made and looked at.
#pragma once

#include "cli/command.h"

namespace glovebox::app {

// ACTION: none (make it, or bring it up to date), status, logs, rm.
Result<int> webhook_box(cli::Context& context, cli::Args& args, cli::Output& out);

}  // namespace glovebox::app

// Completion scripts for shells, made of the table of commands: a usage line is the grammar of its
// command, so what is offered is what is understood.
#pragma once

#include <string>

#include "cli/command.h"

namespace glovebox::cli {

std::string bash_completion(Commands commands);
std::string zsh_completion(Commands commands);

}  // namespace glovebox::cli

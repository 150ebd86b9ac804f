// What is to be said to an agent, from wherever it comes.
#pragma once

#include <optional>
#include <string>

#include "cli/command.h"

namespace glovebox::cli {

// The argument (`-` is stdin, words behind `--` may begin with a dash), --prompt-file, or, where
// `variable` is given, that variable. At most one of them, and it must be UTF-8.
Result<std::optional<std::string>> read_prompt(const Context& context, Args& args,
                                               std::string_view variable);
// A file, or stdin for "-".
Result<std::string> read_input(const std::string& path, std::size_t limit);

}  // namespace glovebox::cli

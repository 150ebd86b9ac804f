// Verbs that take several names: one that fails does not keep the others.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/output.h"

namespace glovebox::cli {

// Prints {done: [names]}; the exit code is that of the first failure.
int for_each_name(const std::vector<std::string>& names, std::string_view verb,
                  std::string_view done, Output& out,
                  const std::function<Result<void>(const std::string&)>& act);

}  // namespace glovebox::cli

// One function per tool: the model's input in, the text of the result out. An error's text is the
// tool's error result.
#pragma once

#include <string>

#include "tools/input.h"
#include "tools/tools.h"

namespace glovebox::tools {

Result<std::string> read(const Input& input, const Context& context);
Result<std::string> write(const Input& input, const Context& context);
Result<std::string> edit(const Input& input, const Context& context);
Result<std::string> glob(const Input& input, const Context& context);
Result<std::string> grep(const Input& input, const Context& context);

}  // namespace glovebox::tools

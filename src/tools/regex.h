#pragma once

#include <string>
#include <string_view>

namespace glovebox::tools {

// A regular expression as models write it, in RE2's spelling: `(?<name>…)` and `\u00fc` are common
// to JavaScript and ripgrep, but not known to it. What neither of them shares with RE2 is left
// alone.
std::string in_re2(std::string_view pattern);

}  // namespace glovebox::tools

// Names with '*', '?', '[a-z]' and '\x', as in the sources of COPY. None of them matches a '/'.
#pragma once

#include <string_view>

namespace glovebox::image {

bool is_pattern(std::string_view text);
bool matches(std::string_view pattern, std::string_view name);

}  // namespace glovebox::image

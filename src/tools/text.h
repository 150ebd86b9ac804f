// Text as the official tools count and clean it. Lengths are UTF-16 units, since theirs are
// JavaScript strings.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace glovebox::tools {

inline constexpr std::size_t kOutputLimit = 100 * 1024;  // characters of one result of bash or grep

std::size_t characters(std::string_view utf8);
std::string_view last_characters(std::string_view utf8, std::size_t count);
std::string without_colours(std::string_view text);  // ANSI CSI sequences removed

}  // namespace glovebox::tools

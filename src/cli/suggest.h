// "did you mean": the nearest of some names to one that nobody knows.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace glovebox::cli {

// The number of letters to add, drop, change or swap with a neighbour to turn one into the other.
std::size_t distance(std::string_view a, std::string_view b);
// The nearest name, or "" when none is near enough to be a slip of the fingers.
std::string nearest(std::string_view wrong, std::span<const std::string> names);
// "; did you mean 'x'?", or "".
std::string did_you_mean(std::string_view wrong, std::span<const std::string> names);

}  // namespace glovebox::cli

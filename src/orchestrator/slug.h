// A name made of an id: lower-case letters, digits and hyphens, at most 63, as the engine takes
// them.
#pragma once

#include <string>
#include <string_view>

namespace glovebox::orchestrator {

// `prefix` and the id, folded. Where folding or shortening loses anything a hash of the id is
// appended, so that two ids never have one name.
std::string slug(std::string_view prefix, std::string_view id);

}  // namespace glovebox::orchestrator

#include "runner/files.h"

#include <algorithm>

#include "base/str.h"

namespace glovebox::runner {

bool single_name(std::string_view name) {
  constexpr std::size_t kMaxName = 255;  // NAME_MAX
  return !name.empty() && name != "." && name != ".." && name.size() <= kMaxName &&
         name.find('/') == name.npos && valid_utf8(name) == name &&
         std::none_of(name.begin(), name.end(),
                      [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

}  // namespace glovebox::runner

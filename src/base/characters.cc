#include "base/characters.h"

#include "base/str.h"

namespace glovebox {

// The unit that the escape (backslash, u, four hex digits) at `at` stands for, or nothing.
static std::optional<unsigned> unicode_escape(std::string_view json, std::size_t at) {
  if (json.substr(at, 2) != "\\u" || json.size() - at < 6) return std::nullopt;
  unsigned value = 0;
  auto [end, error] = std::from_chars(json.data() + at + 2, json.data() + at + 6, value, 16);
  if (error != std::errc{} || end != json.data() + at + 6) return std::nullopt;
  return value;
}

std::string whole_characters(std::string_view raw) {
  std::string json = valid_utf8(raw);
  for (std::size_t at = json.find('\\'); at != json.npos; at = json.find('\\', at)) {
    auto unit = unicode_escape(json, at);
    if (!unit || *unit < 0xd800 || *unit > 0xdfff) {
      at += 2;
      continue;
    }
    auto next = *unit < 0xdc00 ? unicode_escape(json, at + 6) : std::nullopt;
    if (next && *next >= 0xdc00 && *next <= 0xdfff) {
      at += 12;
    } else {
      json.replace(at, 6, "\\ufffd");
      at += 6;
    }
  }
  return json;
}

}  // namespace glovebox

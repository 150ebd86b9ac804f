#include "tools/text.h"

namespace glovebox::tools {

// Units of the character that starts with this byte; 0 for a continuation byte.
static std::size_t units(char c) {
  auto byte = static_cast<unsigned char>(c);
  if ((byte & 0xc0) == 0x80) return 0;
  return byte >= 0xf0 ? 2 : 1;
}

std::size_t characters(std::string_view utf8) {
  std::size_t count = 0;
  for (char c : utf8) count += units(c);
  return count;
}

std::string_view last_characters(std::string_view utf8, std::size_t count) {
  std::size_t start = utf8.size();
  for (std::size_t at = utf8.size(); at-- > 0;) {
    std::size_t more = units(utf8[at]);
    if (more > count) break;
    count -= more;
    if (more) start = at;
  }
  return utf8.substr(start);
}

std::string without_colours(std::string_view text) {
  auto within = [](char c, char low, char high) { return c >= low && c <= high; };
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    if (text.substr(at, 2) == "\x1b[") {
      std::size_t end = at + 2;
      while (end < text.size() &&
             (within(text[end], '0', '9') || text[end] == ';' || text[end] == '?'))
        ++end;
      while (end < text.size() && within(text[end], ' ', '/')) ++end;
      if (end < text.size() && within(text[end], '@', '~')) {
        at = end + 1;
        continue;
      }
    }
    out += text[at++];
  }
  return out;
}

}  // namespace glovebox::tools

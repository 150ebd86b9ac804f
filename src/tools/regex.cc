#include "tools/regex.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/str.h"

namespace glovebox::tools {
namespace {

bool hexadecimal(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
}

std::optional<unsigned> unit(std::string_view text) {
  if (!text.starts_with("\\u") || text.size() < 6 || !hexadecimal(text.substr(2, 4)))
    return std::nullopt;
  unsigned value = 0;
  std::from_chars(text.data() + 2, text.data() + 6, value, 16);
  return value;
}

struct Escape {
  std::size_t length;
  std::string spelling;
};

// What the escape at the start of `text` is in RE2.
Escape escape(std::string_view text) {
  constexpr auto kHex = "0123456789abcdef";
  if (auto high = unit(text)) {
    auto low = unit(text.substr(6));
    bool pair = *high >= 0xd800 && *high < 0xdc00 && low && *low >= 0xdc00 && *low < 0xe000;
    unsigned point = pair ? 0x10000 + ((*high & 0x3ff) << 10) + (*low & 0x3ff) : *high;
    std::string digits;
    for (int shift = 20; shift >= 0; shift -= 4) digits += kHex[(point >> shift) & 15];
    return {pair ? 12u : 6u, str("\\x{", digits, '}')};
  }
  std::size_t close = text.find('}');
  if (text.starts_with("\\u{") && close != text.npos && hexadecimal(text.substr(3, close - 3)))
    return {close + 1, str("\\x", text.substr(2, close - 1))};
  std::size_t length = std::min<std::size_t>(2, text.size());
  return {length, std::string(text.substr(0, length))};
}

}  // namespace

std::string in_re2(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (std::size_t at = 0; at < pattern.size();) {
    std::string_view rest = pattern.substr(at);
    if (rest[0] == '\\') {
      Escape found = escape(rest);
      out += found.spelling;
      at += found.length;
      continue;
    }
    if (!in_class && rest.starts_with("(?<") && rest.size() > 3 && rest[3] != '=' &&
        rest[3] != '!') {
      out += "(?P<";
      at += 3;
      continue;
    }
    if (in_class && rest[0] == ']') {
      in_class = false;
    } else if (!in_class && rest[0] == '[') {
      in_class = true;
      // A bracket that stands first belongs to the class.
      std::size_t first = rest.starts_with("[^") ? 2 : 1;
      std::size_t length = first + (rest.substr(first).starts_with(']') ? 1 : 0);
      out += rest.substr(0, length);
      at += length;
      continue;
    } else if (in_class && rest.starts_with("[:")) {  // `[[:alpha:]]`
      std::size_t end = rest.find(":]");
      if (end != rest.npos) {
        out += rest.substr(0, end + 2);
        at += end + 2;
        continue;
      }
    }
    out += rest[0];
    ++at;
  }
  return out;
}

}  // namespace glovebox::tools

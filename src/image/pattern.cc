#include "image/pattern.h"

namespace glovebox::image {

namespace {

// The set at the start of `pattern` ("[^a-z]"): whether `c` is in it, and what follows. Nothing
// where it has no end.
bool in_set(std::string_view& pattern, char c, bool& closed) {
  std::size_t at = 1;
  const bool negated = at < pattern.size() && (pattern[at] == '^' || pattern[at] == '!');
  if (negated) ++at;
  bool found = false, first = true;
  for (; at < pattern.size() && (first || pattern[at] != ']'); first = false) {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
    char low = pattern[at++], high = low;
    if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
      high = pattern[at + 1];
      at += 2;
    }
    found |= low <= c && c <= high;
  }
  closed = at < pattern.size();
  if (closed) pattern.remove_prefix(at + 1);
  return found != negated;
}

}  // namespace

bool is_pattern(std::string_view text) { return text.find_first_of("*?[\\") != text.npos; }

// One star is remembered: what it took grows by one character each time the rest does not fit.
bool matches(std::string_view pattern, std::string_view name) {
  std::string_view after_star, star_name;
  bool starred = false;
  for (;;) {
    if (!pattern.empty() && pattern[0] == '*') {
      pattern.remove_prefix(1);
      after_star = pattern;
      star_name = name;
      starred = true;
      continue;
    }
    bool fits = false;
    if (name.empty() && pattern.empty()) return true;
    if (!name.empty() && !pattern.empty()) {
      if (pattern[0] == '?') {
        fits = true;
        pattern.remove_prefix(1);
      } else if (pattern[0] == '[') {
        bool closed = false;
        fits = in_set(pattern, name[0], closed) && closed;
      } else {
        if (pattern[0] == '\\' && pattern.size() > 1) pattern.remove_prefix(1);
        fits = pattern[0] == name[0];
        if (fits) pattern.remove_prefix(1);
      }
    }
    if (fits) {
      name.remove_prefix(1);
      continue;
    }
    if (!starred || star_name.empty()) return false;
    star_name.remove_prefix(1);
    name = star_name;
    pattern = after_star;
  }
}

}  // namespace glovebox::image

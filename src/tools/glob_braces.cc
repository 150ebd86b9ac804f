#include <algorithm>
#include <cstdlib>
#include <set>

#include "tools/glob_pattern.h"

namespace glovebox::tools {
namespace {

// Where the brace that opens at `open` closes, or npos; `parts` gets what stands between, cut at
// the commas of this level.
std::size_t closing_brace(std::string_view text, std::size_t open,
                          std::vector<std::string_view>& parts) {
  int depth = 0;
  std::size_t part = open + 1;
  for (std::size_t at = open; at < text.size(); ++at) {
    if (text[at] == '{') ++depth;
    if (text[at] == ',' && depth == 1) {
      parts.push_back(text.substr(part, at - part));
      part = at + 1;
    }
    if (text[at] == '}' && --depth == 0) {
      parts.push_back(text.substr(part, at - part));
      return at;
    }
  }
  return text.npos;
}

// "1..9", "01..10", "a..e", "9..1..-2": from, to, step.
std::vector<std::string> sequence(std::string_view text) {
  std::vector<std::string> fields;
  for (std::size_t at; (at = text.find("..")) != text.npos; text.remove_prefix(at + 2))
    fields.emplace_back(text.substr(0, at));
  fields.emplace_back(text);
  if (fields.size() != 2 && fields.size() != 3) return {};

  auto letter = [](const std::string& field) {
    return field.size() == 1 &&
           ((field[0] >= 'a' && field[0] <= 'z') || (field[0] >= 'A' && field[0] <= 'Z'));
  };
  bool letters = letter(fields[0]) && letter(fields[1]);
  auto number = [&](const std::string& field) {
    return letters ? std::optional<int>(field[0]) : parse_int<int>(field);
  };
  auto from = number(fields[0]), to = number(fields[1]);
  auto step = fields.size() == 3 ? parse_int<int>(fields[2]) : std::optional(1);
  if (!from || !to || !step) return {};

  auto padded = [](std::string_view field) {
    if (field.starts_with('-')) field.remove_prefix(1);
    return field.size() > 1 && field[0] == '0';
  };
  std::size_t width =
      padded(fields[0]) || padded(fields[1]) ? std::max(fields[0].size(), fields[1].size()) : 0;
  std::vector<std::string> items;
  const std::int64_t by = std::max<std::int64_t>(std::abs(std::int64_t{*step}), 1);
  const std::int64_t count = std::abs(std::int64_t{*to} - *from) / by + 1;
  for (std::int64_t i = 0; i < count && items.size() <= kMaxAlternatives; ++i) {
    std::int64_t value = *from + (*to >= *from ? i : -i) * by;
    if (letters) {
      items.emplace_back(1, static_cast<char>(value));
      continue;
    }
    std::string digits = str(std::abs(value)), sign = value < 0 ? "-" : "";
    if (digits.size() + sign.size() < width)
      digits.insert(0, width - digits.size() - sign.size(), '0');
    items.push_back(sign + digits);
  }
  return items;
}

constexpr auto kTooMany = "glob: pattern has too many alternatives";

}  // namespace

Result<std::vector<std::string>> expand_braces(std::string_view pattern) {
  std::size_t open = pattern.find('{');
  if (open == pattern.npos) return std::vector{std::string(pattern)};
  std::vector<std::string_view> parts;
  std::size_t close = closing_brace(pattern, open, parts);
  std::string before(pattern.substr(0, open));

  std::vector<std::string> middles;
  if (close != pattern.npos && !before.ends_with('$')) {
    if (parts.size() == 1) middles = sequence(parts[0]);
    if (parts.size() > 1) {
      for (std::string_view part : parts) {
        TRY(expanded, expand_braces(part));
        middles.insert(middles.end(), expanded.begin(), expanded.end());
        if (middles.size() > kMaxAlternatives) return Error{Code::too_large, kTooMany};
      }
    }
  }
  // A brace that says nothing stands for itself.
  std::size_t rest = middles.empty() ? open + 1 : close + 1;
  if (middles.empty()) middles = {"{"};
  TRY(afters, expand_braces(pattern.substr(rest)));
  if (middles.size() * afters.size() > kMaxAlternatives) return Error{Code::too_large, kTooMany};

  std::vector<std::string> all;
  for (const std::string& middle : middles)
    for (const std::string& after : afters) all.push_back(str(before, middle, after));
  return all;
}

Result<std::vector<GlobPath>> parse_glob(std::string_view pattern) {
  if (pattern.size() > kMaxPattern) return Error{Code::too_large, "glob: pattern is too long"};
  std::string slashed(pattern);
  std::ranges::replace(slashed, '\\', '/');
  TRY(alternatives, expand_braces(slashed));

  std::set<std::string_view> seen;
  std::vector<GlobPath> paths;  // in the order of the pattern
  for (const std::string& alternative : alternatives) {
    if (!seen.insert(alternative).second) continue;
    if (alternative.starts_with('/') || alternative.ends_with('/')) continue;
    GlobPath path;
    for (const std::string& name : split(alternative, '/')) {
      if (name.empty() || name == ".") continue;
      if (name == "**" && !path.empty() && path.back().any_depth()) continue;
      path.emplace_back(name);
    }
    if (!path.empty()) paths.push_back(std::move(path));
  }
  return paths;
}

}  // namespace glovebox::tools

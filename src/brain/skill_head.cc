// The few forms of YAML that the head of a SKILL.md has: plain and quoted texts, texts that go on
// in lines further in, and the blocks after > and |.
#include <algorithm>

#include "brain/skill_files.h"

namespace glovebox::brain {
namespace {

constexpr std::string_view kFence = "---";

std::string_view next_line(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool further_in(std::string_view line) {
  return trim(line).empty() || line.starts_with(' ') || line.starts_with('\t');
}

std::string unquoted(std::string_view text) {
  const bool quoted = text.size() >= 2 && text.front() == text.back() &&
                      (text.front() == '"' || text.front() == '\'');
  if (!quoted) return std::string(text.substr(0, text.find(" #")));
  const char quote = text.front();
  std::string out;
  for (text = text.substr(1, text.size() - 2); !text.empty(); text.remove_prefix(1)) {
    const bool escaped = quote == '"' ? text.front() == '\\' : text.starts_with("''");
    if (escaped && text.size() > 1) text.remove_prefix(1);
    out += escaped && quote == '"' && text.front() == 'n' ? '\n' : text.front();
  }
  return out;
}

// What stands behind the colon, and in the lines below it that are further in.
std::string value_of(std::string_view first, std::string_view& text) {
  first = trim(first);
  const bool block = first.starts_with('>') || first.starts_with('|');
  const char between = first.starts_with('|') ? '\n' : ' ';
  std::string value(block ? "" : first);
  for (;;) {
    std::string_view rest = text;
    if (rest.empty()) break;
    const std::string_view line = next_line(rest);
    if (!further_in(line)) break;
    text = rest;
    if (const auto words = trim(line); !words.empty())
      value += str(value.empty() ? "" : std::string(1, between), words);
  }
  return block ? value : unquoted(value);
}

}  // namespace

Result<SkillHead> skill_head(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (valid_utf8(text) != text) return Error{Code::invalid, "SKILL.md: must be UTF-8"};
  if (trim(next_line(text)) != kFence)
    return Error{Code::invalid, "SKILL.md: must begin with a line of ---, name and description"};
  SkillHead head;
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    if (trim(line) == kFence) return head;
    const auto colon = line.find(':');
    if (further_in(line) || line.starts_with('#') || colon == line.npos) continue;
    const std::string_view key = trim(line.substr(0, colon));
    std::string value = value_of(line.substr(colon + 1), text);
    if (key == "name") head.name = std::move(value);
    if (key == "description") head.description = std::move(value);
  }
  return Error{Code::invalid, "SKILL.md: its head does not end with a line of ---"};
}

}  // namespace glovebox::brain

#include "engine/dockerfile.h"

#include <algorithm>
#include <boost/json.hpp>

namespace glovebox::engine {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxText = 1 << 20;
constexpr std::size_t kMaxInstructions = 1000;
constexpr int kMaxDepth = 16;                // of ${A:-${B:-...}}
constexpr std::size_t kMaxValue = 64 << 10;  // of one word once its variables are put in
constexpr std::string_view kKnown[] = {"FROM", "RUN",        "COPY", "ADD", "ENV",  "WORKDIR",
                                       "USER", "ENTRYPOINT", "CMD",  "ARG", "LABEL"};
constexpr std::string_view kIgnored[] = {"EXPOSE",  "HEALTHCHECK", "STOPSIGNAL",
                                         "ONBUILD", "VOLUME",      "MAINTAINER"};

Error at_line(int line, std::string what) {
  return {Code::invalid, str("Dockerfile line ", line, ": ", what), "DOCKERFILE"};
}

bool contains(auto& list, std::string_view name) {
  return std::ranges::find(list, name) != std::end(list);
}

// One instruction's lines as one: '\' at the end goes on, comments and empty lines between are
// nothing.
std::string joined(const std::vector<std::string>& lines, std::size_t& at) {
  std::string text;
  while (at < lines.size()) {
    std::string_view line = lines[at++];
    if (line.ends_with('\r')) line.remove_suffix(1);
    std::string_view start = trim(line);
    if (!text.empty() && (start.empty() || start.starts_with('#'))) continue;
    std::string_view end = line;
    while (end.ends_with(' ') || end.ends_with('\t')) end.remove_suffix(1);
    if (!end.ends_with('\\')) {
      text += line;
      break;
    }
    end.remove_suffix(1);
    text += end;
    if (text.empty()) text = " ";
  }
  return text;
}

std::optional<std::vector<std::string>> string_list(std::string_view text) {
  if (!text.starts_with('[')) return std::nullopt;
  boost::system::error_code wrong;
  json::value value = json::parse(text, wrong);
  if (wrong || !value.is_array()) return std::nullopt;  // a shell's [ then
  std::vector<std::string> out;
  for (const json::value& item : value.as_array()) {
    if (!item.is_string()) return std::nullopt;
    out.emplace_back(item.as_string());
  }
  return out;
}

// "<<EOF", "<<-'EOF'": not "<<<", and not a shift within $((…)).
bool here_document(std::string_view text) {
  auto at = text.find("<<");
  if (at == text.npos || at + 2 >= text.size()) return false;
  std::string_view before = text.substr(0, at);
  char next = text[at + 2];
  return before.rfind("((") == before.npos && (next == '-' || next == '"' || next == '\'' ||
                                               next == '_' || (next >= 'A' && next <= 'Z'));
}

bool name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool name_char(char c) { return name_start(c) || (c >= '0' && c <= '9'); }

// A few lines that double a variable each would else fill the memory.
Result<void> fits(std::size_t size, std::size_t limit) {
  if (size <= limit) return ok;
  return Error{Code::invalid, str("with its variables it is longer than ", limit, " bytes"),
               "DOCKERFILE"};
}

Result<std::string> expand_at(std::string_view text, const Variables& variables, int depth);

// The variable at `at` (behind the dollar sign), which is moved behind it.
Result<std::string> variable(std::string_view text, std::size_t& at, const Variables& variables,
                             int nested) {
  auto value = [&](std::string_view name) -> std::optional<std::string> {
    auto found = variables.find(std::string(name));
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  if (at < text.size() && text[at] == '{') {
    int depth = 0;
    std::size_t end = at;
    for (; end < text.size(); ++end) {
      if (text[end] == '{') ++depth;
      if (text[end] == '}' && --depth == 0) break;
    }
    if (end == text.size()) return Error{Code::invalid, "'${' without its '}'"};
    std::string_view inner = text.substr(at + 1, end - at - 1);
    at = end + 1;
    std::size_t name_end = 0;
    while (name_end < inner.size() && name_char(inner[name_end])) ++name_end;
    std::string_view name = inner.substr(0, name_end), rest = inner.substr(name_end);
    if (name.empty()) return Error{Code::invalid, "'${' without a name"};
    auto found = value(name);
    if (rest.empty()) return found.value_or("");
    bool colon = rest.starts_with(':');
    std::string_view what = rest.substr(colon ? 1 : 0);
    bool there = found && (!colon || !found->empty());
    if (what.starts_with('-'))
      return there ? *found : expand_at(what.substr(1), variables, nested + 1);
    if (what.starts_with('+')) return there ? expand_at(what.substr(1), variables, nested + 1) : "";
    if (what.starts_with('?') && there) return *found;
    if (what.starts_with('?')) return Error{Code::invalid, str(name, ": ", what.substr(1))};
    return Error{Code::invalid, str("'${", inner, "}' is of a form we do not know")};
  }
  std::size_t end = at;
  if (end < text.size() && name_start(text[end]))
    while (end < text.size() && name_char(text[end])) ++end;
  if (end == at) return std::string("$");
  std::string_view name = text.substr(at, end - at);
  at = end;
  return value(name).value_or("");
}

Result<std::string> expand_at(std::string_view text, const Variables& variables, int depth) {
  if (depth > kMaxDepth)
    return Error{Code::invalid, str("'${' nested more than ", kMaxDepth, " deep"), "DOCKERFILE"};
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '$') {
      out += '$';
      i += 2;
    } else if (text[i] == '$') {
      ++i;
      TRY(value, variable(text, i, variables, depth));
      out += value;
      TRY_DO(fits(out.size(), kMaxValue));
    } else {
      out += text[i++];
    }
  }
  return out;
}

struct Word {
  std::string text;
  std::size_t equals = std::string::npos;  // of the first '=' that no quote protects
};

Result<std::vector<Word>> split_words(std::string_view text, const Variables& variables) {
  std::vector<Word> out;
  Word word;
  std::size_t total = 0;
  bool in_word = false;
  char quote = 0;
  for (std::size_t i = 0; i < text.size();) {
    char c = text[i];
    if (!quote && (c == ' ' || c == '\t')) {
      if (in_word) out.push_back(std::exchange(word, {}));
      in_word = false;
      ++i;
      continue;
    }
    in_word = true;
    if (quote ? c == quote : (c == '"' || c == '\'')) {
      quote = quote ? 0 : c;
      ++i;
    } else if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      char next = text[i + 1];
      if (quote && next != '"' && next != '\\' && next != '$') word.text += '\\';
      word.text += next;
      i += 2;
    } else if (c == '$' && quote != '\'') {
      ++i;
      TRY(value, variable(text, i, variables, 0));
      word.text += value;
      TRY_DO(fits(word.text.size(), kMaxValue));
      TRY_DO(fits(total += value.size(), kMaxText));
    } else {
      if (c == '=' && !quote && word.equals == std::string::npos) word.equals = word.text.size();
      word.text += c;
      ++i;
    }
  }
  if (quote) return Error{Code::invalid, str("a ", quote, " without its other half")};
  if (in_word) out.push_back(std::move(word));
  return out;
}

}  // namespace

Result<std::vector<Instruction>> parse_dockerfile(std::string_view text,
                                                  std::vector<std::string>* ignored) {
  if (text.size() > kMaxText) return Error{Code::too_large, "the Dockerfile is too long"};
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  auto lines = split(text, '\n');
  std::vector<Instruction> out;
  for (std::size_t at = 0; at < lines.size();) {
    std::string_view first = trim(lines[at]);
    if (first.empty() || first.starts_with('#')) {
      if (lower(first).starts_with("# escape=") && !first.ends_with('\\'))
        return at_line(static_cast<int>(at) + 1, "only '\\' is known as the escape character");
      ++at;
      continue;
    }
    Instruction made;
    made.line = static_cast<int>(at) + 1;
    std::string whole = joined(lines, at);
    std::string_view rest = trim(whole);
    auto space = std::min(rest.find_first_of(" \t"), rest.size());
    for (char c : rest.substr(0, space))
      made.name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    rest = trim(rest.substr(space));
    if (contains(kIgnored, made.name)) {
      if (ignored) ignored->push_back(made.name);
      continue;
    }
    if (made.name == "SHELL") return at_line(made.line, "SHELL is not to be had; RUN uses /bin/sh");
    if (!contains(kKnown, made.name))
      return at_line(made.line, str("no such instruction: ", valid_utf8(made.name.substr(0, 40))));
    while (rest.starts_with("--") && (made.name == "COPY" || made.name == "ADD" ||
                                      made.name == "FROM" || made.name == "RUN")) {
      auto end = std::min(rest.find_first_of(" \t"), rest.size());
      std::string_view flag = rest.substr(2, end - 2);
      auto equals = flag.find('=');
      made.flags[std::string(flag.substr(0, equals))] =
          equals == flag.npos ? "" : flag.substr(equals + 1);
      rest = trim(rest.substr(end));
    }
    if (rest.empty() && made.name != "CMD" && made.name != "ENTRYPOINT")
      return at_line(made.line, str(made.name, " of nothing"));
    if ((made.name == "RUN" || made.name == "COPY" || made.name == "ADD") && here_document(rest))
      return at_line(made.line, "here-documents (<<) are not known; use a file, or printf");
    made.text = rest;
    made.list = string_list(rest);
    out.push_back(std::move(made));
    if (out.size() > kMaxInstructions) return Error{Code::too_large, "too many instructions"};
  }
  for (const Instruction& one : out) {
    if (one.name == "FROM") break;
    if (one.name != "ARG") return at_line(one.line, "the first instruction must be FROM");
  }
  if (std::ranges::none_of(out, [](const Instruction& one) { return one.name == "FROM"; }))
    return Error{Code::invalid, "the Dockerfile has no FROM", "DOCKERFILE"};
  return out;
}

Result<std::string> expand(std::string_view text, const Variables& variables) {
  return expand_at(text, variables, 0);
}

Result<std::vector<std::string>> words(std::string_view text, const Variables& variables) {
  TRY(found, split_words(text, variables));
  std::vector<std::string> out;
  for (Word& word : found) out.push_back(std::move(word.text));
  return out;
}

Result<std::vector<std::pair<std::string, std::string>>> assignments(std::string_view text,
                                                                     const Variables& variables) {
  TRY(found, split_words(text, variables));
  std::vector<std::pair<std::string, std::string>> out;
  if (!found.empty() && found[0].equals == std::string::npos) {
    auto space = std::min(text.find_first_of(" \t"), text.size());
    TRY(value, expand(trim(text.substr(space)), variables));
    if (value.empty()) return Error{Code::invalid, "a name without a value"};
    out.emplace_back(found[0].text, std::move(value));
    return out;
  }
  for (const Word& word : found) {
    if (word.equals == std::string::npos || word.equals == 0)
      return Error{Code::invalid, str("'", word.text, "' is not NAME=VALUE")};
    out.emplace_back(word.text.substr(0, word.equals), word.text.substr(word.equals + 1));
  }
  return out;
}

}  // namespace glovebox::engine

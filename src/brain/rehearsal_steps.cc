#include "brain/rehearsal_steps.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>

#include "base/str.h"
#include "brain/json_read.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// An apostrophe inside a word is none.
bool opens_quote(std::string_view text, std::size_t at) {
  char c = text[at];
  if (c == '"' || c == '`') return true;
  return c == '\'' &&
         (at == 0 || is_space(text[at - 1]) || is_one_of(text.substr(at - 1, 1), {"(", ":", "="}));
}

// The place of the quote that ends the one at `at`, or npos.
std::size_t end_of_quote(std::string_view text, std::size_t at) {
  for (auto end = text.find(text[at], at + 1); end != text.npos;
       end = text.find(text[at], end + 1)) {
    bool inside_word = text[at] == '\'' && end + 1 < text.size() &&
                       std::isalnum(static_cast<unsigned char>(text[end + 1]));
    if (!inside_word) return end;
  }
  return text.npos;
}

struct Token {
  std::string text;
  std::string low;  // in lower case; empty for what was quoted
  bool quoted = false;
  std::size_t at = 0;  // where it begins in its sentence

  bool is(std::initializer_list<std::string_view> words) const {
    return !quoted && is_one_of(low, words);
  }
};

std::string bare(std::string_view word) {
  auto end = word.find_last_not_of(",.!?:");
  if (end == word.npos) return std::string(word);  // "." and ".." are folders
  return std::string(word.substr(0, end + 1));
}

std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  for (std::size_t at = 0; at < text.size();) {
    if (is_space(text[at])) {
      ++at;
      continue;
    }
    std::size_t close = opens_quote(text, at) ? end_of_quote(text, at) : text.npos;
    if (close != text.npos) {
      tokens.push_back(
          {.text = std::string(text.substr(at + 1, close - at - 1)), .quoted = true, .at = at});
      at = close + 1;
      continue;
    }
    auto end = at;
    while (end < text.size() && !is_space(text[end])) ++end;
    std::string word = bare(text.substr(at, end - at));
    tokens.push_back({.text = word, .low = lower(word), .at = at});
    at = end;
  }
  return tokens;
}

constexpr std::initializer_list<std::string_view> kVerbs = {
    "create", "write",  "make",    "save", "put",  "read",    "show",   "cat",
    "print",  "open",   "display", "view", "run",  "execute", "list",   "ls",
    "glob",   "search", "grep",    "find", "edit", "replace", "change", "call"};

// Cut where a next step begins: at line breaks and semicolons, at "then", at "and" before a verb.
std::vector<std::string> sentences_of(std::string_view text) {
  std::vector<std::string> sentences;
  std::size_t begin = 0;
  auto cut = [&](std::size_t end, std::size_t next) {
    sentences.emplace_back(text.substr(begin, end - begin));
    begin = next;
  };
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (opens_quote(text, at)) {
      auto close = end_of_quote(text, at);
      if (close != text.npos) at = close;
      continue;
    }
    if (text[at] == '\n' || text[at] == ';') {
      cut(at, at + 1);
      continue;
    }
    bool starts_word = !is_space(text[at]) && (at == 0 || is_space(text[at - 1]));
    if (!starts_word) continue;
    auto words = split(text.substr(at, 40), ' ');
    std::string word = lower(bare(words[0]));
    if (word == "then" ||
        (word == "and" && words.size() > 1 && is_one_of(lower(bare(words[1])), kVerbs)))
      cut(at, at + words[0].size());
  }
  cut(text.size(), text.size());
  return sentences;
}

class Sentence {
 public:
  Sentence(std::string text, std::string& last_file)
      : text_(std::move(text)), file_(last_file), tokens_(tokens_of(text_)) {
    std::erase_if(tokens_, [](const Token& token) {
      return token.is({"please",  "now",   "also",  "and",    "the",     "a",        "an",
                       "new",     "file",  "named", "called", "me",      "us",       "of",
                       "just",    "first", "next",  "then",   "finally", "that",     "files",
                       "could",   "can",   "you",   "all",    "text",    "contents", "content",
                       "command", "",      "tool",  "let's"});
    });
  }

  bool empty() const { return tokens_.empty(); }

  Step parse() {
    Step step = understood();
    step.said = std::string(trim(text_));
    return step;
  }

 private:
  Step understood() {
    const Token& verb = tokens_[0];
    if (verb.is({"create", "write", "make", "save", "put"})) return write();
    if (verb.is({"read", "show", "cat", "print", "open", "display", "view"})) return read();
    if (verb.is({"run", "execute"})) return run();
    if (verb.is({"list", "ls", "glob"})) return list();
    if (verb.is({"search", "grep", "find"})) return search();
    if (verb.is({"edit", "replace", "change", "in"})) return edit();
    if (verb.is({"call"})) return call();
    return {};
  }

  const Token* at(std::size_t i) const { return i < tokens_.size() ? &tokens_[i] : nullptr; }
  bool is(std::size_t i, std::initializer_list<std::string_view> words) const {
    return at(i) && tokens_[i].is(words);
  }
  // As it was written, from token i on.
  std::string rest(std::size_t i) const {
    return at(i) ? std::string(trim(std::string_view(text_).substr(tokens_[i].at))) : "";
  }
  std::string text_from(std::size_t i) const {
    if (!at(i)) return "";
    return tokens_[i].quoted ? tokens_[i].text : rest(i);
  }
  // Names the file of this step and remembers it; empty where there is none.
  std::string file(const Token* token) {
    if (!token || token->is({"it", "back", "again"})) return file_;
    return file_ = token->text;
  }
  static std::string input(json::object members) { return json::serialize(members); }

  Step write() {
    const Token *name = at(1), *text = nullptr;
    std::string content;
    if (name && is(2, {"to", "into", "in"})) {  // write 'hi' to hello.txt
      content = name->text;
      name = at(3);
    } else {
      std::size_t i = is(2, {"with", "containing", "saying", "says", "holding"}) ? 3 : 2;
      text = at(i);
      content = text_from(i);
    }
    if (!name || (text && !text->quoted && at(2) == text)) return {};
    std::string path = file(name);
    if (path.empty()) return {};
    return {.tool = "write",
            .input = input({{"file_path", path}, {"content", content}}),
            .failing = "write " + path,
            .doing = "wrote " + path};
  }

  Step read() {
    std::string before = file_, path = file(at(1));
    if (path.empty()) return {};
    return {.tool = "read",
            .input = input({{"file_path", path}}),
            .failing = "read " + path,
            .doing = path == before ? "read it" : "read " + path,
            .tells = true};
  }

  Step run() {
    std::string command = text_from(1);
    if (command.empty()) return {};
    return {.tool = "bash",
            .input = input({{"command", command}}),
            .failing = str("run `", command, '`'),
            .doing = str("ran `", command, '`'),
            .tells = true};
  }

  Step find_files(std::string pattern, std::string folder) {
    json::object members{{"pattern", pattern}};
    if (!folder.empty()) members["path"] = folder;
    std::string where = folder.empty() ? "" : " in " + folder;
    return {.tool = "glob",
            .input = input(std::move(members)),
            .failing = str("list ", pattern, where),
            .doing = str("listed ", pattern, where),
            .tells = true};
  }

  Step list() {
    std::string pattern = "*", folder;
    for (std::size_t i = 1; at(i); ++i) {
      const Token& token = tokens_[i];
      if (token.is({"in", "inside", "under", "here", "from"})) continue;
      if (token.is({"recursively", "everything"})) {
        pattern = "**/*";
      } else if (token.text.find_first_of("*?{[") != std::string::npos) {
        pattern = token.text;
      } else {
        folder = token.text;
      }
    }
    return find_files(pattern, folder);
  }

  Step search() {
    std::size_t i = is(1, {"for"}) ? 2 : 1;
    const Token* what = at(i);
    if (!what) return {};
    std::string where = is(i + 1, {"in", "inside", "under"}) && at(i + 2) ? at(i + 2)->text : "";
    if (is(0, {"find"}) && !what->quoted && what->text.contains('*'))
      return find_files(what->text, where);
    json::object members{{"pattern", what->text}};
    if (!where.empty()) members["path"] = where == "it" ? file_ : where;
    return {.tool = "grep",
            .input = input(std::move(members)),
            .failing = str("search for '", what->text, '\''),
            .doing = str("searched for '", what->text, '\''),
            .tells = true};
  }

  // replace 'a' with 'b' in FILE; edit FILE: replace 'a' with 'b'; in FILE replace 'a' with 'b'
  Step edit() {
    std::optional<Token> name;
    std::size_t i = 1;
    if (is(0, {"in", "edit", "change"}) && at(1) && !at(1)->quoted) {
      name = *at(1);
      i = is(2, {"replace", "replacing", "change", "changing"}) ? 3 : 2;
    }
    const Token *before = at(i), *after = at(i + 2);
    if (!before || !is(i + 1, {"with", "by", "to", "into"}) || !after) return {};
    if (!name && is(i + 3, {"in", "inside"}) && at(i + 4)) name = *at(i + 4);
    std::string path = file(name ? &*name : nullptr);
    if (path.empty() || before->text.empty()) return {};
    json::object members{
        {"file_path", path}, {"old_string", before->text}, {"new_string", after->text}};
    if (lower(text_).contains(" all ")) members["replace_all"] = true;
    return {.tool = "edit",
            .input = input(std::move(members)),
            .failing = "edit " + path,
            .doing = "edited " + path};
  }

  Step call() {
    const Token* name = at(1);
    if (!name) return {};
    std::string members = rest(is(2, {"with"}) ? 3 : 2);
    json::object parsed = parse_object(members.empty() ? "{}" : members);
    if (!members.empty() && members != "{}" && parsed.empty()) return {};
    return {.tool = name->text,
            .input = input(std::move(parsed)),
            .failing = "call " + name->text,
            .doing = "called " + name->text,
            .tells = true};
  }

  std::string text_;
  std::string& file_;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Step> parse_steps(std::string_view prompt, std::string last_file) {
  std::vector<Step> steps;
  for (std::string& text : sentences_of(prompt)) {
    Sentence sentence(std::move(text), last_file);
    if (!sentence.empty()) steps.push_back(sentence.parse());
  }
  return steps;
}

std::string_view rehearsal_help() {
  return "create FILE with 'TEXT' · read FILE (or: read it back) · run `COMMAND` · list [PATTERN] "
         "[in FOLDER] · search for 'REGEX' [in PATH] · replace 'A' with 'B' in FILE · call TOOL "
         "{JSON} — several of them joined by \"then\", a semicolon or a new line";
}

}  // namespace glovebox::brain

// An event of a session as a person reads it.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace boost::json {
class object;
class value;
}  // namespace boost::json

namespace glovebox::cli {

// Colours are for terminals.
struct Style {
  bool colours = false;
  std::string bold(std::string_view text) const { return in("1", text); }
  std::string dim(std::string_view text) const { return in("2", text); }
  std::string red(std::string_view text) const { return in("31", text); }
  std::string cyan(std::string_view text) const { return in("36", text); }

 private:
  std::string in(std::string_view code, std::string_view text) const;
};

struct EventText {
  std::string text;       // with its newline; empty: nothing to show
  bool is_error = false;  // belongs on stderr
};
// `→ bash  ls`, `← a.txt`, the text of a message, `· done (end_turn)`.
EventText describe(const boost::json::object& event, const Style& style);

// What a call is about: the first of command, path, file_path, pattern, query, url in its input,
// else all of it.
std::string call_summary(const boost::json::object& event);
// The text of content blocks, or of a plain string; blocks that are none are named.
std::string content_text(const boost::json::value* content);
// At most `most` characters, with a note of how many are left out.
std::string cut(std::string_view text, std::size_t most);
// printable(), but newlines and tabs stay; lines after the first are indented.
std::string printable_lines(std::string_view text, std::string_view indent = "  ");

// Whether the turn has ended with this event, for now: an idle session that waits for nobody.
bool ends_turn(const boost::json::object& event);

}  // namespace glovebox::cli

// What the rehearsal model understands: sentences of a few fixed forms, each a call of one tool.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace glovebox::brain {

struct Step {
  std::string tool;     // empty: not understood
  std::string input;    // JSON object
  std::string said;     // the words it was made of
  std::string failing;  // "write hello.txt": for when it goes wrong
  std::string doing;    // "wrote hello.txt", "read it": for when it went well
  bool tells = false;   // its output belongs into the summary
};

// The steps of a prompt, one after the other, joined by "then", "and", ";" or line breaks.
// `last_file` is what "it" means before a file has been named.
std::vector<Step> parse_steps(std::string_view prompt, std::string last_file = "");

// For people: what it understands.
std::string_view rehearsal_help();

}  // namespace glovebox::brain

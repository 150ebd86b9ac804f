// Dockerfiles: text to instructions, and the words and variables in them. What they do is
// image_build.cc's.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::engine {

struct Instruction {
  int line = 0;
  std::string name;                          // "RUN", in capitals
  std::map<std::string, std::string> flags;  // --from=x
  std::string text;                          // what follows, continuation lines joined
  // Of the form ["a", "b"]; nothing if it is of the other form, which a shell takes.
  std::optional<std::vector<std::string>> list;
};
// Errors name the line. Instructions nobody knows are refused, those that mean nothing here
// (EXPOSE, HEALTHCHECK …) are left out and their names put into `ignored`.
Result<std::vector<Instruction>> parse_dockerfile(std::string_view text,
                                                  std::vector<std::string>* ignored);

using Variables = std::map<std::string, std::string>;
// $NAME, ${NAME}, ${NAME:-otherwise}, ${NAME:+instead}; '\$' is a dollar sign. What variables make
// longer than 64 KiB, or nest more than 16 deep, is refused; so below.
Result<std::string> expand(std::string_view text, const Variables& variables);
// Words as a shell would split them: quotes taken off, variables put in (not within '…').
Result<std::vector<std::string>> words(std::string_view text, const Variables& variables);
// Of ENV and LABEL: a=b c="d e", and the old form "a b c".
Result<std::vector<std::pair<std::string, std::string>>> assignments(std::string_view text,
                                                                     const Variables& variables);

}  // namespace glovebox::engine

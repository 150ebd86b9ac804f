// A script for the rehearsal model: a file (TOML or JSON) of answers. See README.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace glovebox::brain {

struct ScenarioTurn {
  std::string match;           // in lower case; empty: this turn stands in line
  std::string content = "[]";  // JSON: content blocks; tool_use without ids
  std::string stop_reason;
  std::string error;    // type of a Messages API error that comes first …
  int error_times = 0;  // … so many times; -1: always
  Millis delay{0};
};

class Scenario {
 public:
  // `name` ends in .json, or it is TOML.
  static Result<Scenario> parse(std::string_view text, std::string_view name);
  static Result<Scenario> load(const std::string& path);

  // The turn that answers a conversation: `said` are the texts of the user's side before each
  // answer so far, and before the one to come. Nullptr when the script is over.
  const ScenarioTurn* next(const std::vector<std::string>& said) const;

 private:
  std::vector<ScenarioTurn> turns_;
};

}  // namespace glovebox::brain

// The part of an agent that a turn needs: its model, its system prompt, and which tools the model
// is offered under which policy. Out of the snapshot that a session keeps (§2 of the API).
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/error.h"

namespace glovebox::brain {

enum class Policy { always_allow, always_ask, automatic, always_deny };

struct Tool {
  bool custom = false;  // the application runs it; no policy, it always waits for the client
  Policy policy = Policy::always_allow;
};

struct Agent {
  std::string name;
  std::string system;
  std::string model, effort, speed;
  std::string offered;  // JSON array: the "tools" of a Messages API request
  std::map<std::string, Tool, std::less<>> tools;  // those offered, by name

  static Result<Agent> parse(const std::string& snapshot);
};

}  // namespace glovebox::brain

#include "base/fault.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace glovebox {

namespace {
struct Plan {
  std::string point;
  std::string action;
  int at = 1;
  int seen = 0;
};

Plan& plan() {
  static Plan plan = [] {
    const char* set = std::getenv("GLOVEBOX_FAULT");
    Plan made;
    if (!set) return made;
    auto parts = split(set, ':');
    made.point = parts[0];
    auto action = split(parts.size() > 1 ? parts[1] : "kill", '@');
    made.action = action[0];
    if (action.size() > 1) made.at = parse_int<int>(action[1]).value_or(1);
    return made;
  }();
  return plan;
}
}  // namespace

Result<void> fault(std::string_view point) {
  Plan& set = plan();
  if (set.point.empty() || set.point != point || ++set.seen != set.at) return ok;
  if (set.action == "fail") return Error{Code::internal, str("injected fault at ", point)};
  ::kill(::getpid(), SIGKILL);
  ::pause();  // the signal is on its way
  return ok;
}

}  // namespace glovebox

// The first message of an exec: which command, with what around it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "cli/terminal.h"

namespace glovebox::cli {

struct ExecRequest {
  std::vector<std::string> command;
  std::vector<std::string> env;  // "K=V"
  std::string user, cwd;
  bool stdin_open = true;
  bool log = true;  // false: a transfer, whose bytes are for us alone
  std::optional<TerminalSize> terminal;
  std::optional<Millis> timeout;
};
Result<std::string> encode(const ExecRequest& request);

}  // namespace glovebox::cli

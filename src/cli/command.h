// A subcommand is one file with one descriptor; commands.cc lists them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "cli/args.h"
#include "cli/output.h"

namespace glovebox::cli {

using Environment = std::map<std::string, std::string, std::less<>>;
Environment process_environment();

// What a command may look at besides its arguments.
struct Context {
  Environment env;
  std::optional<std::string> url, state, config;  // --url, --state, --config
  bool json_asked = false;                        // --json itself, not just a pipe
  // The state directory of the configuration file, where it names one: the file belongs to `app`.
  std::function<Result<std::optional<std::string>>(const Context&)> configured_state = {};
  // Returns once this machine's Glovebox serves, started if it did not run: that too is `app`'s.
  std::function<Result<void>(const Context&, Output&)> ensure_started = {};
  // A line for people on stderr, from where there is no Output; each is said once.
  std::function<void(const std::string& line)> note = [](const std::string&) {};

  std::optional<std::string> variable(std::string_view name) const;  // empty counts as unset
  // --state, GLOVEBOX_STATE, the configuration file, /var/lib/glovebox.
  Result<std::string> state_dir() const;
};

struct Command {
  std::string_view name;   // "sandbox create"
  std::string_view usage;  // also the grammar of its options: see cli/args.h
  std::string_view help;   // the first sentence stands in the list of commands
  Result<int> (*run)(Context&, Args&, Output&);
  enum class Kind { normal, internal } kind = Kind::normal;  // internal: not in the list
};
using Commands = std::span<const Command* const>;

constexpr std::string_view kGlobalUsage =
    "[--json] [--text] [--url=URL] [--state=DIR] [--config=FILE] [-h] [--help]";

std::string help_text(Commands commands);
std::string help_text(const Command& command);
std::string usage_text(const Command& command);  // "usage: glovebox …"

// Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not found, 4 timed out.
int exit_code(const Error& error);
// main() without the process: picks the command, runs it, prints its error.
int run_program(Commands commands, Context context, const std::vector<std::string>& words,
                const std::function<Output(Output::Format)>& make_output, bool stdout_is_terminal);

}  // namespace glovebox::cli

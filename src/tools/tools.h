// The six agent tools (bash read write edit glob grep) exactly as `agent_toolset_20260401` defines
// them. No network, no JSON library of its own: input and result are Boost.JSON text at the border,
// plain structs inside.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"

namespace glovebox::tools {

struct Root {
  std::string path;
  bool read_only = false;
};

struct Context {
  std::string workdir;
  std::vector<Root> allowed_roots;      // beside the workdir
  std::size_t read_limit = 256 * 1024;  // bytes of one read or edit; 0: none
  Millis default_timeout{120'000};      // of bash
  Millis grep_timeout{60'000};
};

struct ToolResult {
  std::string content;  // never empty: "(no output)" stands in
  bool is_error = false;
};

// The pipes of a persistent bash that somebody else started with shell_argv() and shell_env(), its
// stdout and stderr /dev/null, and wrote shell_preamble() to. A call frames its command over them;
// output cannot forge the end of a call, because the end is told on a pipe of its own with a fresh
// random word.
struct Shell {
  int in = -1;       // our end of its stdin, which does not block
  int out = -1;      // our end of the pipe that is its descriptor kOutputFd
  int control = -1;  // our end of the pipe that is its descriptor kControlFd
  // Where there is one: readable once the shell is gone (a pidfd). Without it, a background job
  // that holds the pipes open may hide the shell's death until the time-out.
  int exited = -1;
};
// Not one of those that commands like to use (9, 200), nor one that bash takes for itself (from 10
// up, from 63 down).
inline constexpr int kControlFd = 57, kOutputFd = 58;
std::vector<std::string> shell_argv();  // /bin/bash --noprofile --norc
// Minus ANTHROPIC_*, plus PS1, PS2, TERM.
std::vector<std::string> shell_env(const std::vector<std::string>& environ);
std::string shell_preamble();  // the first bytes of its stdin

struct BashInput {
  std::string command;
  bool has_command = false;
  bool restart = false;
  Millis timeout{0};  // 0: the default
};
// Errors are texts for the model.
Result<BashInput> parse_bash(std::string_view json, const Context& context);

// Dead: kill its cgroup and start another for the next call.
enum class ShellState { usable, dead };
struct BashOutcome {
  ToolResult result;
  ShellState shell = ShellState::usable;
};
// Runs one command in the shell. Does not start, restart or kill it: whoever owns the shell does.
// Blocking.
BashOutcome run_bash(const Shell& shell, const BashInput& input, const Context& context);

// read, write, edit, glob, grep. Blocking; meant to run in a child that can be killed.
ToolResult run_tool(std::string_view tool, std::string_view json, const Context& context);

std::string encode(const ToolResult& result);  // {"content":…,"is_error":…}

}  // namespace glovebox::tools

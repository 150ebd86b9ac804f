#include <algorithm>
#include <exception>

#include "tools/input.h"
#include "tools/tools.h"

namespace glovebox::tools {

std::vector<std::string> shell_argv() { return {"/bin/bash", "--noprofile", "--norc"}; }

std::vector<std::string> shell_env(const std::vector<std::string>& environ) {
  auto is = [](std::string_view variable, std::string_view name) {
    return variable.size() > name.size() && variable.starts_with(name) &&
           variable[name.size()] == '=';
  };
  std::vector<std::string> result;
  for (const std::string& variable : environ) {
    if (lower(variable).starts_with("anthropic_")) continue;  // its credentials
    if (is(variable, "PS1") || is(variable, "PS2") || is(variable, "TERM")) continue;
    result.push_back(variable);
  }
  result.insert(result.end(), {"PS1=", "PS2=", "TERM=dumb"});
  return result;
}

constexpr std::size_t kMaxCommand = 4 << 20;               // bash reads its input byte by byte
constexpr std::int64_t kMaxTimeout = 24 * 60 * 60 * 1000;  // a day, in ms

static Result<BashInput> parse(std::string_view json) {
  TRY(input, Input::parse("bash", json));
  TRY(command, input.text("command"));
  TRY(restart, input.flag("restart"));
  TRY(timeout, input.integer("timeout_ms"));

  BashInput result{.command = command.value_or(""), .restart = restart};
  result.has_command = !result.command.empty();
  if (!result.has_command && !restart) return Error{Code::invalid, "bash: command is required"};
  if (result.command.find('\0') != std::string::npos)
    return Error{Code::invalid, "bash: command must not contain NUL characters"};
  if (result.command.size() > kMaxCommand)
    return Error{Code::too_large, str("bash: command is ", result.command.size(),
                                      " bytes, exceeds ", kMaxCommand, "-byte limit")};
  if (timeout && *timeout <= 0)
    return Error{Code::invalid, "bash: timeout_ms must be greater than 0"};
  if (timeout) result.timeout = Millis(std::min(*timeout, kMaxTimeout));
  return result;
}

Result<BashInput> parse_bash(std::string_view json, const Context&) {
  try {
    return parse(json);
  } catch (const std::exception& exception) {  // in practice: no memory
    return Error{Code::internal, str("bash: ", exception.what())};
  }
}

}  // namespace glovebox::tools

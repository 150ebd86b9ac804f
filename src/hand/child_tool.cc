#include <unistd.h>

#include "hand/child.h"
#include "tools/tools.h"

namespace glovebox::hand {
namespace {

constexpr std::size_t kMaxInput = 8 * 1024 * 1024;
constexpr std::size_t kLarge = 256 * 1024;

Result<std::string> read_input() {
  std::string input;
  char part[64 * 1024];
  for (;;) {
    ssize_t n = ::read(STDIN_FILENO, part, sizeof part);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error("read the input");
    if (n == 0) return input;
    input.append(part, static_cast<std::size_t>(n));
    if (input.size() > kMaxInput)
      return Error{Code::too_large, str("input of more than ", kMaxInput, " bytes")};
  }
}

bool write_result(const tools::ToolResult& result) {
  std::string text = tools::encode(result);
  for (std::size_t at = 0; at < text.size();) {
    ssize_t n = ::write(STDOUT_FILENO, text.data() + at, text.size() - at);
    if (n < 0 && errno != EINTR) ::_exit(1);
    if (n > 0) at += static_cast<std::size_t>(n);
  }
  return text.size() < kLarge;
}

// The shell is the hand's: it is asked for, used and given back.
tools::ToolResult call_bash(int socket, const std::string& json, const tools::Context& context) {
  auto input = tools::parse_bash(json, context);
  if (!input) return {input.error().what, true};
  std::string ask{kNeedShell, input->restart ? '\1' : '\0'};
  auto asked = sys::send_packet(socket, ask, {}, 0);
  auto answer = asked ? sys::receive_packet(socket, kChildMessage, 3) : asked.error();
  if (!answer || answer->bytes.empty()) return {"bash: bash session terminated", true};
  if (answer->bytes[0] != kGrant || answer->fds.size() != 3)
    return {str("bash: ", answer->bytes.substr(1)), true};
  tools::Shell shell{answer->fds[0].get(), answer->fds[1].get(), answer->fds[2].get()};
  auto outcome = tools::run_bash(shell, *input, context);
  bool usable = outcome.shell == tools::ShellState::usable;
  (void)sys::send_packet(socket, std::string(1, usable ? kShellUsable : kShellDead), {}, 0);
  return outcome.result;
}

}  // namespace

bool run_tool_call(int socket, const std::vector<std::string>& argv, const std::string& workdir) {
  const std::string& tool = argv[0];
  tools::Context context{.workdir = workdir};
  for (std::size_t i = 2; i < argv.size(); ++i)
    context.allowed_roots.push_back({argv[i].substr(3), argv[i].starts_with("ro:")});
  auto input = read_input();
  if (!input) return write_result({str(tool, ": ", input.error().what), true});
  auto result =
      tool == "bash" ? call_bash(socket, *input, context) : tools::run_tool(tool, *input, context);
  return write_result(result) && input->size() < kLarge;
}

}  // namespace glovebox::hand

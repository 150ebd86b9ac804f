#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

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

// A call that was given its input begins without a word: most end within this time, and beginning
// and end are told together then, which wakes the engine once instead of twice.
constexpr suseconds_t kSilenceMicros = 10'000;

class LateWord {
 public:
  explicit LateWord(int socket) {
    g_socket = socket;
    if (socket < 0) return;
    struct sigaction action{};
    action.sa_handler = say;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGALRM, &action, nullptr);
    set(kSilenceMicros);
  }
  LateWord(const LateWord&) = delete;
  void stop() {
    if (g_socket >= 0) set(0);
  }

 private:
  static void set(suseconds_t micros) {
    itimerval timer{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = micros}};
    ::setitimer(ITIMER_REAL, &timer, nullptr);
  }
  static void say(int) {
    const int before = errno;
    const char word = kReady;
    (void)!::send(g_socket, &word, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    errno = before;
  }
  static inline int g_socket = -1;  // for the signal
};

// In pieces, each of which the hand takes when it has room for it.
void tell_result(int socket, const tools::ToolResult& result, ShellWord shell, bool was_large) {
  const std::string text = tools::encode(result);
  std::string_view rest = text;
  auto tell = [&](std::string message) {
    message += rest.substr(0, kResultPiece);
    rest.remove_prefix(std::min(rest.size(), kResultPiece));
    if (!sys::send_packet(socket, message, {}, 0)) ::_exit(1);
  };
  while (rest.size() > kResultPiece) tell({kOutput});
  tell({was_large || text.size() >= kLarge ? kLast : kDone, shell});
}

// The shell is the hand's: it is asked for where it was not given, used and given back.
tools::ToolResult call_bash(int socket, const std::string& json, const tools::Context& context,
                            std::vector<Fd> given, ShellWord& state) {
  auto input = tools::parse_bash(json, context);
  if (!input) return {input.error().what, true};
  if (given.size() != 3 || input->restart) {
    std::string ask{kNeedShell, input->restart ? '\1' : '\0'};
    auto asked = sys::send_packet(socket, ask, {}, 0);
    auto answer = asked ? sys::receive_packet(socket, kChildMessage, 3) : asked.error();
    if (!answer || answer->bytes.empty()) return {"bash: bash session terminated", true};
    if (answer->bytes[0] != kGrant || answer->fds.size() != 3)
      return {str("bash: ", answer->bytes.substr(1)), true};
    given = std::move(answer->fds);
  }
  tools::Shell shell{given[0].get(), given[1].get(), given[2].get()};
  auto outcome = tools::run_bash(shell, *input, context);
  state = outcome.shell == tools::ShellState::usable ? kShellUsable : kShellDead;
  return outcome.result;
}

}  // namespace

void run_tool_call(int socket, ToolCall call) {
  LateWord goes_on(call.input ? socket : -1);
  const std::string& tool = call.argv[0];
  tools::Context context{.workdir = call.workdir};
  for (std::size_t i = 2; i < call.argv.size(); ++i)
    context.allowed_roots.push_back({call.argv[i].substr(3), call.argv[i].starts_with("ro:")});
  auto input = call.input ? Result<std::string>(std::move(*call.input)) : read_input();
  if (!input)
    return tell_result(socket, {str(tool, ": ", input.error().what), true}, kNoneUsed, true);
  ShellWord shell = kNoneUsed;
  auto result = tool == "bash" ? call_bash(socket, *input, context, std::move(call.shell), shell)
                               : tools::run_tool(tool, *input, context);
  goes_on.stop();
  tell_result(socket, result, shell, input->size() >= kLarge);
}

}  // namespace glovebox::hand

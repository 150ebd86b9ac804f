// One command in a persistent bash. Its text goes in on the shell's stdin, wrapped so that the
// shell tells the exit status on the control descriptor; what the command prints comes out on
// another pipe, so nothing printed can look like an end.
//
// A process that is woken costs more than most commands do. So the order of things is one that
// wakes the shell once and us once.
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <exception>
#include <optional>
#include <utility>

#include "base/random.h"
#include "tools/text.h"
#include "tools/tools.h"

namespace glovebox::tools {
namespace {

using Time = std::chrono::steady_clock::time_point;

// For so long a command's output may wait in the pipe for the command's end: most end sooner, and
// then one waking is enough for both. (A pipe that is full before makes the command wait.)
constexpr Millis kQuiet{2};
constexpr std::size_t kNonce = 16;

// What the shell reads for a command:
//
//   >&58 2>&1 </dev/null 57>&- 58>&- \builtin eval -- 'COMMAND'
//   \builtin echo NONCE "$?" >&57
//   \builtin eval :
//
// on one line, and an empty one. bash takes a pipe byte by byte, a system call for each: so what
// is the same for every command, up to the quote, is written ahead, when nobody waits.
//
// - `eval` of one quoted word: an unclosed quote or here-document is an error of the command, at
//   once, and not a hole that swallows the rest of our text. bash 5.2 then keeps believing that a
//   quote is open, until the next eval: hence the last one.
// - The status goes out on a descriptor that the command does not have.
// - The output pipe is another one the command does not have, while the shell's own 1 and 2 are
//   /dev/null: what `set -x`, `set -v` and the command's traps have to say about our own lines is
//   not seen.
// - The shell saves and restores 0, 1, 2, 57 and 58 around the command: its `exec >file` or
//   `exec 1>&-` ends with it and cannot deafen later calls.
// - One line more than the command has, as in the official worker's frame: bash numbers the lines
//   of all calls together, and says these numbers.
// - `\builtin`: neither aliases nor functions of these names come between.
std::string frame_begin() {
  return str(">&", kOutputFd, " 2>&1 </dev/null ", kControlFd, ">&- ", kOutputFd,
             ">&- \\builtin eval -- '");
}

// All of it that was not written ahead, and what is written ahead for the next one.
std::string framed(std::string_view command, std::string_view nonce) {
  std::string quoted;
  for (char c : command) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return str(quoted, "';\\builtin echo ", nonce, " \"$?\" >&", kControlFd, ";\\builtin eval :\n\n",
             frame_begin());
}

// In the official worker the end of a call is a mark in the output, and what it keeps includes the
// mark: a newline, `__ANT_CMD_`, a UUID, `_DONE__`, the status, a newline. A result has so much
// less.
std::size_t kept_beside_mark(int status) {
  return kOutputLimit - (1 + 10 + 36 + 7 + str(status).size() + 1);
}

// The end of the output, as much of it as a result may hold.
class Tail {
 public:
  void add(std::string_view bytes) {
    bytes_ += bytes;
    if (bytes_.size() > 2 * kKept) {
      bytes_.erase(0, bytes_.size() - kKept);
      cut_ = true;
    }
  }

  std::string text(std::size_t characters) const {
    std::string whole = valid_utf8(bytes_);
    std::string_view last = last_characters(whole, characters);
    bool cut = cut_ || last.size() < whole.size();
    std::string text = without_colours(last);
    text.resize(text.find_last_not_of('\n') + 1);
    return cut ? "[output truncated]\n" + text : text;
  }

 private:
  static constexpr std::size_t kKept =
      3 * kOutputLimit + 4;  // no character needs more; 4: one cut in two
  std::string bytes_;
  bool cut_ = false;
};

// Finds "NONCE STATUS\n" on the control pipe among whatever else somebody may have written there.
class Marker {
 public:
  explicit Marker(std::string nonce) : nonce_(std::move(nonce)) {}

  std::optional<int> add(std::string_view bytes) {
    for (char c : bytes) {
      if (c != '\n') {
        if (line_.size() < kMaxLine) line_ += c;
        continue;
      }
      std::string line = std::exchange(line_, {});
      if (line.starts_with(nonce_ + ' '))
        if (auto status = parse_int<int>(std::string_view(line).substr(nonce_.size() + 1)))
          return status;
    }
    return std::nullopt;
  }

 private:
  static constexpr std::size_t kMaxLine = 256;
  std::string nonce_, line_;
};

// Writing to a shell that is gone is an error to look at, not a signal to die of.
class IgnoreSigpipe {
 public:
  IgnoreSigpipe() {
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, &before_);
  }
  IgnoreSigpipe(const IgnoreSigpipe&) = delete;
  IgnoreSigpipe& operator=(const IgnoreSigpipe&) = delete;
  ~IgnoreSigpipe() { ::sigaction(SIGPIPE, &before_, nullptr); }

 private:
  struct sigaction before_{};
};

class Call {
 public:
  enum class End { done, died, late };

  Call(const Shell& shell, std::string_view command, std::string nonce)
      : shell_(shell), input_(framed(command, nonce)), marker_(std::move(nonce)) {}

  End run(Time deadline);
  int status() const { return *status_; }
  std::string output() const { return tail_.text(kept_beside_mark(*status_)); }

 private:
  void write_some();
  std::size_t read_output(std::size_t most);
  void read_control();
  void read_what_is_left();

  Shell shell_;  // a descriptor that came to its end becomes -1, which poll passes over
  std::string input_;
  std::size_t written_ = 0;
  Marker marker_;
  Tail tail_;
  std::optional<int> status_;
  bool gone_ = false;  // nobody can end this call any more
};

// At most PIPE_BUF bytes after poll said "writable" never block, whatever the mode of the
// descriptor.
void Call::write_some() {
  constexpr std::size_t kPipeBuf = 4096;
  ssize_t wrote =
      ::write(shell_.in, input_.data() + written_, std::min(kPipeBuf, input_.size() - written_));
  if (wrote > 0) written_ += static_cast<std::size_t>(wrote);
  if (wrote < 0 && errno != EAGAIN && errno != EINTR) gone_ = true;
}

std::size_t Call::read_output(std::size_t most) {
  char bytes[64 * 1024];
  ssize_t got = ::read(shell_.out, bytes, std::min(most, sizeof bytes));
  if (got == 0) shell_.out = -1;
  if (got <= 0) return 0;
  tail_.add({bytes, static_cast<std::size_t>(got)});
  return static_cast<std::size_t>(got);
}

void Call::read_control() {
  char bytes[4096];
  ssize_t got = ::read(shell_.control, bytes, sizeof bytes);
  if (got > 0) status_ = marker_.add({bytes, static_cast<std::size_t>(got)});
  if (got == 0) {
    shell_.control = -1;
    gone_ = true;
  }
}

// The command is over, so all it printed is in the pipe by now. Only that much: a background job
// may go on for ever.
void Call::read_what_is_left() {
  int left = 0;
  if (shell_.out < 0 || ::ioctl(shell_.out, FIONREAD, &left) != 0) return;
  for (auto bytes = static_cast<std::size_t>(left); bytes > 0;) {
    std::size_t got = read_output(bytes);
    if (got == 0) return;
    bytes -= got;
  }
}

Call::End Call::run(Time deadline) {
  const Time start = std::chrono::steady_clock::now(), quiet_until = start + kQuiet;
  write_some();  // nothing is in that pipe, or the shell is about to take it
  for (Time now = start; !status_ && !gone_; now = std::chrono::steady_clock::now()) {
    bool writing = written_ < input_.size();
    bool quiet = !writing && now < quiet_until;
    auto left =
        std::chrono::ceil<Millis>(std::min(deadline, quiet ? quiet_until : deadline) - now).count();
    if (now >= deadline) return End::late;
    pollfd ready[] = {{quiet ? -1 : shell_.out, POLLIN, 0},
                      {shell_.control, POLLIN, 0},
                      {shell_.exited, POLLIN, 0},
                      {shell_.in, static_cast<short>(writing ? POLLOUT : 0), 0}};
    auto& [out, control, exited, in] = ready;
    if (::poll(ready, std::size(ready), static_cast<int>(std::min<long>(left, INT32_MAX))) < 0)
      continue;  // EINTR
    if (out.revents) read_output(SIZE_MAX);
    if (in.revents & POLLOUT && writing) write_some();
    if (control.revents) read_control();
    gone_ = gone_ || exited.revents || in.revents & (POLLERR | POLLHUP);
  }
  // A shell that told the status and died before we looked has still done the command.
  for (pollfd control{shell_.control, POLLIN, 0};
       !status_ && shell_.control >= 0 && ::poll(&control, 1, 0) > 0;)
    read_control();
  if (!status_) return End::died;
  read_what_is_left();
  return End::done;
}

BashOutcome outcome(Call& call, Millis limit) {
  switch (call.run(std::chrono::steady_clock::now() + limit)) {
    case Call::End::late:
      return {{str("bash: bash command timed out after ", limit.count(), "ms"), true},
              ShellState::dead};
    case Call::End::died: return {{"bash: bash session terminated", true}, ShellState::dead};
    case Call::End::done: break;
  }
  std::string output = call.output();
  if (call.status() == 0) return {{output.empty() ? "(no output)" : output, false}};
  return {{output.empty() ? str("exit ", call.status()) : output, true}};
}

}  // namespace

std::string shell_preamble() { return frame_begin(); }

BashOutcome run_bash(const Shell& shell, const BashInput& input, const Context& context) {
  if (!input.has_command) return {{"bash session restarted", false}};
  const Millis limit = input.timeout > 0ms ? input.timeout : context.default_timeout;
  try {
    IgnoreSigpipe guard;
    Call call(shell, input.command, random_id(kNonce));
    return outcome(call, limit);
  } catch (const std::exception& exception) {  // in practice: no memory
    return {{str("bash: ", exception.what()), true}, ShellState::dead};
  }
}

}  // namespace glovebox::tools

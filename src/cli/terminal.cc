#include "cli/terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

namespace glovebox::cli {

namespace {

// What a crash handler may look at: plain data, set before the handlers are.
termios before;
volatile sig_atomic_t raw_fd = -1;

void restore() {
  if (raw_fd >= 0) ::tcsetattr(raw_fd, TCSADRAIN, &before);
  raw_fd = -1;
}

void crash(int signo) {
  if (raw_fd >= 0) ::tcsetattr(raw_fd, TCSANOW, &before);
  ::raise(signo);  // the handler is gone (SA_RESETHAND): this time it kills
}

constexpr int kCrashes[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

termios raw_mode() {
  termios raw = before;
  ::cfmakeraw(&raw);
  return raw;
}

}  // namespace

TerminalSize terminal_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0) return {};
  return {size.ws_row, size.ws_col};
}

RawTerminal::RawTerminal(int fd) : fd_(fd) {}

Result<std::unique_ptr<RawTerminal>> RawTerminal::enter(int fd) {
  if (::tcgetattr(fd, &before) < 0) return sys_error("terminal");
  struct sigaction action{};
  action.sa_handler = crash;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  for (int signo : kCrashes) ::sigaction(signo, &action, nullptr);
  raw_fd = fd;
  std::unique_ptr<RawTerminal> terminal(new RawTerminal(fd));
  termios raw = raw_mode();
  if (::tcsetattr(fd, TCSADRAIN, &raw) < 0) return sys_error("raw terminal");
  return terminal;
}

RawTerminal::~RawTerminal() {
  restore();
  for (int signo : kCrashes) ::signal(signo, SIG_DFL);
}

void RawTerminal::again() {
  termios raw = raw_mode();
  ::tcsetattr(fd_, TCSADRAIN, &raw);
}

}  // namespace glovebox::cli

#include "app/channel.h"

#include <sys/socket.h>

#include <cerrno>

namespace glovebox::app {

constexpr std::size_t kLineLimit = 64 * 1024;
constexpr std::size_t kLinesAtOnce = 100;

Result<std::pair<Channel, Channel>> Channel::make() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return sys_error("socketpair");
  return std::pair{Channel(Fd(ends[0])), Channel(Fd(ends[1]))};
}

Result<void> Channel::send(std::string_view line) {
  std::string text(line.substr(0, kLineLimit - 1));
  for (char& c : text)
    if (c == '\n') c = ' ';
  text += '\n';
  ssize_t n;
  while ((n = ::send(fd_.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 &&
         errno == EINTR) {
  }
  if (n < 0) return sys_error("send");
  if (static_cast<std::size_t>(n) != text.size())
    return Error{Code::exhausted, "the other side does not read"};
  return ok;
}

Result<std::vector<std::string>> Channel::receive() {
  std::vector<std::string> lines;
  for (;;) {
    char buffer[4096];
    ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return lines;
    if (n <=
        0) {  // What came before the end is given first; the end is seen again by the next call.
      if (!lines.empty()) return lines;
      return Error{Code::gone, "the other side has gone"};
    }
    partial_.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t end; (end = partial_.find('\n')) != partial_.npos; partial_.erase(0, end + 1))
      lines.push_back(partial_.substr(0, end));
    if (partial_.size() > kLineLimit) return Error{Code::too_large, "a line is too long"};
    if (lines.size() >= kLinesAtOnce) return lines;  // who talks without end holds up nobody
  }
}

std::pair<std::string, std::string> first_word(std::string_view line) {
  std::size_t space = line.find(' ');
  if (space == line.npos) return {std::string(line), ""};
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

}  // namespace glovebox::app

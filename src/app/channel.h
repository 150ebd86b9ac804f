// What the supervisor and a part say to each other over a socket the part inherits: lines.
//   to the part     user UID GID        whose process it is to become, before anything else
//                   key NAME VALUE      a key, at the start and whenever it changes: rotation needs
//                                       no restart; an empty value: it is gone
//                   url PART URL        where another part is
//                   start               all there is to know has been said
//   from the part   ready | failed TEXT | note TEXT
//                   trouble TEXT        it runs, but something is in its way; empty: no more
// Its end is the other side's end: a part whose supervisor is gone stops.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::app {

class Channel {
 public:
  Channel() = default;
  explicit Channel(Fd fd) : fd_(std::move(fd)) {}
  static Result<std::pair<Channel, Channel>> make();  // ours, and the part's

  int fd() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }
  void close() { fd_.reset(); }
  Result<void> send(std::string_view line);  // never waits: a part that does not read is at fault
  // The lines that have come; never waits. Code::gone at the end.
  Result<std::vector<std::string>> receive();

 private:
  Fd fd_;
  std::string partial_;
};

// "key engine abc" → {"key", "engine abc"}
std::pair<std::string, std::string> first_word(std::string_view line);

}  // namespace glovebox::app

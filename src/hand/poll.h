// What the hand waits for. An event names its owner by source and id, not by address: whoever is
// gone by the time the event is looked at is simply not found.
#pragma once

#include <cstdint>
#include <span>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"

namespace glovebox::hand {

enum class Source : std::uint8_t {
  listener,
  signals,
  helper,
  blank,       // id: the blank's
  start,       // id: the start's; the child that is becoming a program
  idle_tool,   // id: the handle of its last call; a process between two tool calls
  connection,  // id: the connection's
  input,       // id: the process's handle, here and below
  output,
  error_output,
  control,
  group,
};

class Poll {
 public:
  struct Event {
    Source source;
    std::uint64_t id;
    std::uint32_t what;  // EPOLLIN…
  };

  static Result<Poll> make();
  // At most `limit` long; the events stay valid until the next call.
  std::span<const Event> wait(Millis limit);

 private:
  friend class Watched;
  static constexpr int kBatch = 64;
  Fd epoll_;
  Event events_[kBatch];
};

// A descriptor that is closed, and no longer waited for, when its owner goes. (Closing alone would
// not do: epoll remembers a description until its last copy is closed, and a helper being forked
// holds a copy for a moment.)
class Watched {
 public:
  Watched() = default;
  Watched(Poll& poll, Fd fd, Source source, std::uint64_t id)
      : epoll_(poll.epoll_.get()), fd_(std::move(fd)), token_(token(source, id)) {}
  Watched(Watched&& other) noexcept;
  Watched& operator=(Watched&& other) noexcept;
  ~Watched() { reset(); }

  int get() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }
  void want(std::uint32_t events);  // 0: nothing, not even a hang-up
  void rename(Source source, std::uint64_t id);
  void reset();

 private:
  friend class Poll;
  static std::uint64_t token(Source source, std::uint64_t id) {
    return static_cast<std::uint64_t>(source) << 56 | id;
  }
  static constexpr std::uint32_t kStale = 1u << 27;  // known to epoll under another name
  int epoll_ = -1;
  Fd fd_;
  std::uint64_t token_ = 0;
  std::uint32_t wanted_ = 0;
};

}  // namespace glovebox::hand

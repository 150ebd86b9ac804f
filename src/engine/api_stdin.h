// Stdin of a process that a WebSocket feeds: messages go into a bounded queue and from there to the
// hand, so that a process which does not read stops the feeding and nothing else.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "engine/hand_link.h"

namespace glovebox::engine {

class StdinFeed {
 public:
  StdinFeed(net::Loop& loop, std::shared_ptr<HandLink> hand, std::uint64_t handle);
  ~StdinFeed();
  Task<void> push(
      std::string bytes);  // waits while the queue is full; what nobody wants any more is dropped
  void end();              // after all that was pushed

 private:
  struct Queue;
  static Task<void> work(std::shared_ptr<Queue> queue);
  std::shared_ptr<Queue> queue_;
  net::TaskGroup task_;
};

// Big-endian numbers of the WebSocket protocols. `at` is inside, with all bytes of the number.
inline std::uint16_t be16(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(static_cast<std::uint8_t>(bytes[at]) << 8 |
                                    static_cast<std::uint8_t>(bytes[at + 1]));
}
inline std::string be(std::uint64_t value, int bytes) {
  std::string out;
  while (bytes-- > 0) out += static_cast<char>(value >> (8 * bytes) & 0xff);
  return out;
}

}  // namespace glovebox::engine

// Tool calls that carry a key: the same key is the same call, whoever asks, however often. The hand
// keeps what a call printed; this only knows which of its processes has which key, and learns that
// from the hand itself after a restart. So neither a broken connection nor a new engine makes a
// tool run twice.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "engine/hand_link.h"

namespace glovebox::engine {

// Those of one connection to a hand.
class ToolCalls {
 public:
  explicit ToolCalls(std::shared_ptr<HandLink> hand) : hand_(hand) {}

  // The handle of that call. 0: it is new, and the caller's to start; all who come later wait for
  // started() or failed().
  Task<std::uint64_t> find_or_claim(std::string key);
  void started(const std::string& key, std::uint64_t handle);
  void failed(const std::string& key);
  // The handle, if there is such a call. 0: there is none.
  Task<std::uint64_t> find(std::string key);

 private:
  struct Call {
    std::uint64_t handle = 0;  // 0: it is being started
    net::Event known;
  };
  Task<std::uint64_t> look_up(std::string key, bool claim);
  Task<void> learn();
  void remember(const std::string& key, std::uint64_t handle);

  std::weak_ptr<HandLink> hand_;
  bool learned_ = false;
  std::map<std::string, std::shared_ptr<Call>> calls_;
  std::deque<std::string> order_;  // oldest first
};

class ToolCallTable {
 public:
  std::shared_ptr<ToolCalls> of(const std::shared_ptr<HandLink>& hand);

 private:
  std::map<std::weak_ptr<HandLink>, std::shared_ptr<ToolCalls>, std::owner_less<>> tables_;
  std::size_t sweep_at_ = 64;
};

}  // namespace glovebox::engine

// Tool calls that carry a key: the same key is the same call, whoever asks, however often. The hand
// keeps what a call printed; this only knows which of its processes has which key, and learns that
// from the hand itself after a restart. So neither a broken connection nor a new engine makes a
// tool run twice.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "engine/hand_link.h"

namespace glovebox::engine {

// Those of one connection to a hand.
class ToolCalls {
 public:
  explicit ToolCalls(std::shared_ptr<HandLink> hand) : hand_(hand) {}

  // The handle of that call. Where it is new `start` is called, which sets off what says started()
  // or failed() in the end; whoever asked waits for that, and may go away meanwhile.
  Task<std::uint64_t> find_or_start(std::string key, std::function<void()> start);
  void started(const std::string& key, std::uint64_t handle);
  void failed(const std::string& key, Error error);
  void ended(const std::string& key);  // from now on it may be let go of
  // By the hand: the key is free again.
  void forgotten(const std::string& key, std::uint64_t handle);
  // The handle, if there is such a call. 0: there is none.
  Task<std::uint64_t> find(std::string key);

 private:
  struct Call {
    std::uint64_t handle = 0;  // 0: it is being started
    bool ended = false;
    std::optional<Error> error;
    net::Event known;
  };
  Task<void> learn();
  static Task<std::uint64_t> wait(std::shared_ptr<Call> call);
  void remember(const std::string& key, std::uint64_t handle);
  void let_go_of_old();
  void erase(const std::string& key);

  std::weak_ptr<HandLink> hand_;
  bool learned_ = false;
  std::map<std::string, std::shared_ptr<Call>> calls_;
  std::deque<std::string> order_;  // oldest first
};

class ToolCallTable {
 public:
  std::shared_ptr<ToolCalls> of(const std::shared_ptr<HandLink>& use);

 private:
  std::map<std::weak_ptr<HandLink>, std::shared_ptr<ToolCalls>, std::owner_less<>> tables_;
  std::size_t sweep_at_ = 64;
};

}  // namespace glovebox::engine

// What we hold, remembered over a crash: claimed items without any secret. Who finds one in it may
// go on with it by the environment's key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/database.h"

namespace glovebox::orchestrator {

struct Claim {
  std::string work, environment, session;
  enum class State {
    claimed,  // polled, perhaps acknowledged
    held,     // acknowledged; its lease is ours once a heartbeat stands here
  } state = State::claimed;
  std::string last_heartbeat;   // "" before the first
  std::int64_t touched_ms = 0;  // wall clock: when the heartbeat was sent, or the item claimed
  std::int64_t ttl_ms = 0;
  std::string box;  // its id; "" before there is one
};
std::string_view name(Claim::State state);

class Journal {
 public:
  static Result<Journal> open(const std::string& path);  // ":memory:" remembers nothing

  Result<void> add(const Claim& claim);  // one of that id is replaced
  Result<void> hold(const std::string& work);
  Result<void> beat(const std::string& work, const std::string& last_heartbeat,
                    std::int64_t sent_ms, std::int64_t ttl_ms);
  Result<void> box(const std::string& work, const std::string& box);
  Result<void> remove(const std::string& work);
  Result<std::vector<Claim>> all(const std::string& environment);  // oldest first

 private:
  explicit Journal(store::Database db) : db_(std::move(db)) {}
  store::Database db_;
};

}  // namespace glovebox::orchestrator

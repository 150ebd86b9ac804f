// What we hold, remembered over a crash: claimed items without any secret. Who finds one in it may
// go on with it by the environment's key. And what sessions have left: boxes, volumes.
#pragma once

#include <cstdint>
#include <optional>
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

// A session that had a box of ours.
struct Leftover {
  std::string session, box;  // the box's name
  std::int64_t used_ms = 0;  // wall clock: when the session was last held
  bool has_box = true;       // as far as we know; else there are its volumes only

  bool operator==(const Leftover&) const = default;
};

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

  // leftovers.cc decides what becomes of them.
  Result<void> used(const std::string& environment, const std::string& session,
                    const std::string& box, std::int64_t at_ms);
  Result<void> used_until(const std::string& session, std::int64_t at_ms);
  Result<void> box_gone(const std::string& session);
  Result<void> all_gone(const std::string& session);
  Result<std::vector<Leftover>> leftovers(const std::string& environment);  // longest unused first
  Result<std::optional<Leftover>> leftover(const std::string& session);

  // The engine's pool that is ours; "": there is none.
  Result<std::string> pool(const std::string& environment);
  Result<std::vector<std::string>> environments_with_pool();
  Result<void> set_pool(const std::string& environment, const std::string& pool);

 private:
  explicit Journal(store::Database db) : db_(std::move(db)) {}
  store::Database db_;
};

}  // namespace glovebox::orchestrator

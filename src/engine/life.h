// How awake a box is, and what keeps it so.
//
//   status     tier     its processes
//   running    active   run
//   running    paused   are frozen; the next operation thaws them and nobody notices
//   suspended  ram      are frozen, and their memory goes to swap where there is some
//   suspended  cold     are gone, its files are there: after the machine was restarted
//
// An operation is whatever holds the box's hand (Core::hand): it keeps the box awake from its first
// step to its last. Who only watches keeps a box from being idle, but not from being suspended: a
// client library that stops reading a stream need not have closed it. Only one verb at a time
// changes how awake a box is; who comes meanwhile waits.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "net/loop.h"

namespace glovebox::engine {

struct Box;

inline constexpr const char* kActive = "active";
inline constexpr const char* kPaused = "paused";
inline constexpr const char* kRam = "ram";
inline constexpr const char* kCold = "cold";

// For a process that cannot be stopped now, such as one that waits for a dead disk.
inline constexpr Millis kSuspendFreezeLimit = std::chrono::seconds(10);

struct Life {
  using Time = std::chrono::steady_clock::time_point;
  std::size_t uses = 0;      // operations under way
  std::size_t watchers = 0;  // of them, those that only read what a process says
  Time last_use = std::chrono::steady_clock::now();
  bool frozen = false;  // so we told the kernel, as far as we know
  bool moving = false;  // a verb is at it: see Moving

  // idle.cc
  Time last_busy{}, sampled_at{};
  std::int64_t cpu_us = -1;               // at sampled_at
  std::optional<std::int64_t> oom_kills;  // what the kernel had counted then
  bool in_doubt = false;                  // it seems idle, and is being asked
};

std::int64_t last_activity_ms(const Box& box);  // when it was last used, unix time
// Start-up: of one that sleeps the record says it.
void recover_last_use(Box& box);

// Held by the verb that changes how awake a box is. While there is one nobody else begins; when it
// goes those who wait look again.
class Moving {
 public:
  explicit Moving(std::shared_ptr<Box> box);
  Moving(Moving&&) = default;
  ~Moving();

 private:
  std::shared_ptr<Box> box_;
};

// Returns when `event` was told, or after `limit`, so that who waits looks again; fails only when
// cancelled. A loop that went on then would never end.
Task<void> told(net::Event& event, Millis limit = std::chrono::seconds(1));

// What freezes and thaws: its own threads, because a freeze may wait for a process that cannot be
// stopped now, and neither a thaw nor a delete may queue behind that.
struct Freezers {
  net::Pool freezing{2}, thawing{1}, reclaiming{1}, looking{1};
};

}  // namespace glovebox::engine

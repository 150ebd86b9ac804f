// The right to one work item, kept by heartbeats. It beats by itself, whatever a tool does; and
// lets go on purpose when nothing has moved for too long.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "net/loop.h"
#include "runner/service.h"

namespace glovebox::runner {

struct LeaseOptions {
  Millis first_interval{30'000};  // until the service has told the lease's length; also the longest
  Millis shortest_interval{1'000};
  Millis assumed_ttl{90'000};
  Millis first_retry{1'000};      // after a beat nobody answered; doubled up to the interval
  Millis stall_limit{1'800'000};  // 0: no end
  // Before the first accepted beat: services take back an item that is acknowledged and never
  // beaten, so only this long can a foreign heartbeat be our own, unheard one.
  Millis claim_window{30'000};
};

// Where a lease is taken up that an earlier process of ours held, or may have claimed.
struct LeaseStart {
  std::string last_heartbeat = "NO_HEARTBEAT";
  bool in_doubt = false;  // that process may have sent a beat it did not live to note
  Millis age{};           // since the heartbeat, or the claim
  Millis ttl{};           // 0: not known
};

class Lease {
 public:
  enum class End {
    none,          // it is held, or nobody knows yet
    stopping,      // the service wants an end: the item is ours to stop
    rejected,      // the service refuses our credential or the item: stop it, which may fail
    lost,          // somebody else's, or the queue's: not to be touched
    assumed_lost,  // no beat got through for a whole ttl: the same
    stalled,       // let go on purpose: it will be the queue's
  };

  Lease(Service& service, std::string environment, std::string work, Bearer bearer,
        LeaseOptions options, LeaseStart start = {});
  ~Lease();

  // Beats until it is over, or cancelled.
  Task<void> run();
  // Until the first accepted beat, or the end.
  Task<void> settled();

  bool held() const;      // at least one beat was accepted, and it is not over
  bool stopping() const;  // on_stopping was called
  End end() const;
  const std::string& why() const;  // of an end; for people
  Millis ttl() const;

  // Called on the loop's thread.
  std::function<void(const LeaseStart& now)> on_beat;  // accepted: what an heir needs to know
  std::function<Millis()> stalled_for;                 // how long nothing has moved
  // The service wants an end, but gives time: what runs may finish while the lease lasts, which is
  // not extended any more. Where there is nobody to tell, that is the end.
  std::function<void()> on_stopping;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};
std::string_view name(Lease::End end);

}  // namespace glovebox::runner

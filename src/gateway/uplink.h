// The way from a box to its session at the service, for a worker that runs inside: a capability in
// place of a credential. The orchestrator grants (control routes), the engine hands over a listener
// that stands in the box's network namespace, and whoever connects to it is that box.
//
//   grant ─► listener handed over ─► requests, judged by uplink_rules.h ─► ended: taken back, or
//   replaced by another item's, or not renewed
//
// A grant's end cuts what runs under it. Nothing is stored: whoever made a grant renews it, and
// makes it again where this process has started anew.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "gateway/steward.h"
#include "gateway/uplink_grant.h"
#include "http/server.h"
#include "net/loop.h"

namespace glovebox::gateway {

struct UplinkLimits {
  Millis grant_life{120'000};  // without a renewal
  Millis sweep{5'000};
  std::size_t grants = 10'000;
  std::size_t connections = 16, streams = 4;      // of one box
  double requests_per_second = 200, burst = 400;  // of one box
  // A result of a tool call up to `free_body` is read at once. Larger ones: one of each box, and
  // so many of all boxes, at a time, because they lie in memory.
  std::size_t free_body = 256 << 10, large_bodies = 8;
  Millis turn{10'000};  // for one's turn at that
  Millis body{60'000};  // for a whole body, however it trickles
  Millis head{15'000}, piece{20'000}, write{60'000}, idle{120'000};
  Millis service{120'000};  // for the head of an answer
};

class Uplink {
 public:
  explicit Uplink(net::Loop& loop, UplinkLimits limits = {});
  ~Uplink();

  // A grant of the same item takes the place of the last one, and its listener; one of another
  // item ends it.
  Result<void> grant(std::string box, Grant grant);
  struct Status {
    bool listening = false;
    std::uint64_t requests = 0, refused = 0;
  };
  Result<Status> renew(const std::string& box, std::string_view work);
  void revoke(const std::string& box, std::string_view work);
  // "uplink BOX" and one listening socket: for Intake.
  Result<void> take_listener(const std::string& line, std::vector<Fd> fds);

  // A door: what the receiver of webhooks in a box may do here is to say that there may be work
  // (`POST /drain`), and nothing else. Made or renewed; ends like a grant. A box has one of both.
  struct Door {
    bool listening = false;  // the box has its listener
    bool heard = false;      // somebody waits for what is said
    bool steward = false;    // it is a steward's: what takes the work is in the box
  };
  Result<Door> keep_door(const std::string& box);
  void close_door(const std::string& box);
  // Waits, no longer than `limit`, until this is another number than `before`: a hint has come.
  Task<std::uint64_t> hints(std::uint64_t before, Millis limit);

  // From now on whoever has a door is a steward, and the box of that name is kept one.
  Result<void> appoint(StewardOptions options, StewardKeys keys);

  // The same as HTTP, for the orchestrator. Who may ask is the caller's to check.
  //   PUT /grants/{box}   POST /grants/{box}/renew {"work_id"}   DELETE /grants/{box}?work_id=…
  //   PUT /doors/{box}    DELETE /doors/{box}   GET /hints?before=N
  std::vector<http::Route> control_routes();

  Task<void> close();  // ends all; nothing is taken any more

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace glovebox::gateway

// The work queue's side that turns see: a session that has something to do has a live item, at most
// one. Claims, leases and tokens are behind it (work_queue.cc, work_api.cc).
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace glovebox::brain {

class WorkQueue {
 public:
  virtual ~WorkQueue() = default;
  // Makes sure that the session has a live item (queued, starting, active). One that is stopping is
  // left alone: item_stopped is told when it ends.
  virtual Result<void> ensure_item(std::string_view session, std::string_view environment) = 0;
  // Graceful: a worker that holds the item learns it at its next heartbeat. For sessions that were
  // archived or deleted.
  virtual Result<void> stop_items(std::string_view session) = 0;
  // Called whenever an item of a session has become stopped, whoever stopped it: later, from the
  // loop, never inside the transaction that did it.
  std::function<void(std::string session)> on_stopped;
};

}  // namespace glovebox::brain

#include "brain/group_sync.h"

#include "base/metrics.h"
#include "net/task.h"

namespace glovebox::brain {

static metrics::Counter g_syncs("brain_syncs_total", "Syncs of the store's log to disk.");

GroupSync::GroupSync(net::Loop& loop, std::function<Result<void>()> sync)
    : sync_(std::move(sync)), tasks_(loop) {}

Task<void> GroupSync::wait() {
  const std::uint64_t mine = ++asked_;
  if (!working_) {
    working_ = true;
    tasks_.spawn("brain.sync", work());  // not of the caller, who may be cancelled
  }
  while (done_ < mine) CO_TRY_DO(co_await changed_.wait(net::kForever));
  // A sync that failed fails for good: the store says so each time.
  co_return last_;
}

Task<void> GroupSync::work() {
  while (done_ < asked_) {
    const std::uint64_t serves = asked_;
    g_syncs.add();
    last_ = co_await pool_.run(sync_);
    done_ = serves;
    changed_.notify();
  }
  working_ = false;
  co_return ok;
}

Task<void> GroupSync::close(Millis limit) { co_return co_await tasks_.finish(limit); }

}  // namespace glovebox::brain

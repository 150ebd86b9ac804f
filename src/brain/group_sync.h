// Group commit: what a client is told happened must outlive a power cut, which takes milliseconds
// of disk; those who wait together share one sync.
#pragma once

#include <functional>

#include "net/loop.h"

namespace glovebox::brain {

class GroupSync {
 public:
  // `sync` blocks, on a thread of its own.
  GroupSync(net::Loop& loop, std::function<Result<void>()> sync);
  // What was committed before the call is on disk when it returns.
  Task<void> wait();
  Task<void> close(Millis limit);

 private:
  Task<void> work();

  std::function<Result<void>()> sync_;
  std::uint64_t asked_ = 0, done_ = 0;
  bool working_ = false;
  Result<void> last_;
  net::Event changed_;
  net::Pool pool_{1};
  net::TaskGroup tasks_;
};

}  // namespace glovebox::brain

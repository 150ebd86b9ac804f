// The memory stores of one session: in their folders before its first call, in step with the
// service while it runs, and safely there when it ends. Whatever ends the box in between, what was
// written before the last sync is at the service.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runner/store_sync.h"

namespace glovebox::runner {

// Whether an item needs a sessions token: the memory endpoints refuse an environment's key, and a
// session without a folder that its agent was told of would run with amnesia.
bool has_memory(std::string_view session_json);

class MemorySync {
 public:
  MemorySync(net::Loop& loop, Clock& clock, std::shared_ptr<MemoryRemote> remote,
             OpenMemoryFolder open, std::string work_directory, MemoryOptions options = {});

  // Any error fails the item; finish() then removes what was made.
  Task<void> download(std::string session_json);
  // After each call. Only Code::cancelled is an error; what goes wrong is logged.
  Task<void> sync_if_due();
  // Syncs whenever it is due and `worthwhile` says so, until it is cancelled.
  Task<void> keep_synced(std::function<bool()> worthwhile = [] { return true; });
  // Now, whatever was done when: the folders may be gone. Only Code::cancelled is an error.
  Task<void> restore();
  // The last sync (after a clean end only), then a flush of what is not there yet, then the folders
  // go. Each has its limit and does not stop the next. To be called once, whatever happened, when
  // keep_synced() has ended.
  // Where it was lost, and the folders are in a box of the session's, they stay: they may be
  // somebody else's by now, who finds them as they are.
  enum class End { clean, aborted, lost };
  Task<void> finish(End end);

  // For the tools: where they may work, and where they may only read.
  std::vector<std::string> roots() const;
  std::vector<std::string> read_only_roots() const;

 private:
  Task<void> sync_all(StoreSync::Sync which);
  Task<void> flush_all();
  Millis until_due() const;

  net::Loop& loop_;
  Clock& clock_;
  const std::shared_ptr<MemoryRemote> remote_;
  const OpenMemoryFolder open_;
  const std::string work_directory_;
  const MemoryOptions options_;
  std::vector<std::unique_ptr<StoreSync>> stores_;
  std::chrono::steady_clock::time_point last_sync_;
  bool busy_ = false;
  net::Event idle_;
};

}  // namespace glovebox::runner

#include "runner/memory_sync.h"

#include "base/log.h"
#include "net/task.h"
#include "runner/each.h"
#include "runner/within.h"

namespace glovebox::runner {

namespace {

constexpr std::size_t kStoresAtOnce = 8;

bool cancelled(const Result<void>& result) {
  return !result && result.error().code == Code::cancelled;
}

}  // namespace

bool has_memory(std::string_view session_json) { return !memory_stores_of(session_json).empty(); }

MemorySync::MemorySync(net::Loop& loop, Clock& clock, std::shared_ptr<MemoryRemote> remote,
                       OpenMemoryFolder open, std::string work_directory, MemoryOptions options)
    : loop_(loop),
      clock_(clock),
      remote_(std::move(remote)),
      open_(std::move(open)),
      work_directory_(std::move(work_directory)),
      options_(options),
      last_sync_(clock.monotonic()) {}

Task<void> MemorySync::download(std::string session_json) {
  for (MemoryStore& store : memory_stores_of(session_json)) {
    const std::string id = store.id;
    CO_TRY(root, memory_root(store, work_directory_));
    for (const auto& other : stores_)
      if (overlap(root, other->root()))
        co_return Error{Code::conflict, str("memory store ", id, ": ", root, " and ", other->root(),
                                            " are not apart")};
    auto folder = open_(root);
    stores_.push_back(std::make_unique<StoreSync>(loop_, clock_, std::move(store), std::move(root),
                                                  remote_, std::move(folder), options_));
    CO_TRY_DO(co_await stores_.back()->download(), "memory store ", id);
  }
  last_sync_ = clock_.monotonic();
  co_return ok;
}

Millis MemorySync::until_due() const {
  const auto due = last_sync_ + options_.interval, now = clock_.monotonic();
  return now >= due ? Millis(0) : std::chrono::ceil<Millis>(due - now);
}

Task<void> MemorySync::sync_if_due() {
  if (stores_.empty() || busy_ || until_due() > Millis(0)) co_return ok;
  co_return co_await sync_all(StoreSync::Sync::ordinary);
}

Task<void> MemorySync::keep_synced(std::function<bool()> worthwhile) {
  if (stores_.empty()) co_return ok;
  for (bool wanted = true;;) {
    // Also when somebody else is at it: its end puts the next one off.
    const bool rest = busy_ || !wanted;
    CO_TRY_DO(co_await net::sleep(std::max(until_due(), rest ? options_.interval : Millis(1))));
    wanted = worthwhile();
    if (wanted) CO_TRY_DO(co_await sync_if_due());
  }
}

Task<void> MemorySync::restore() {
  if (stores_.empty()) co_return ok;
  while (busy_) CO_TRY_DO(co_await idle_.wait(net::kForever));
  co_return co_await sync_all(StoreSync::Sync::ordinary);
}

Task<void> MemorySync::sync_all(StoreSync::Sync which) {
  busy_ = true;
  auto done = co_await each(loop_, kStoresAtOnce, stores_.size(),
                            [this, which](std::size_t i) { return stores_[i]->sync(which); });
  busy_ = false;
  last_sync_ = clock_.monotonic();
  idle_.notify();
  co_return done;
}

Task<void> MemorySync::flush_all() {
  return each(loop_, kStoresAtOnce, stores_.size(),
              [this](std::size_t i) { return stores_[i]->flush(); });
}

Task<void> MemorySync::finish(End end) {
  while (busy_) CO_TRY_DO(co_await idle_.wait(options_.final_limit), "the sync under way");
  if (end == End::clean) {
    auto last = co_await within(sync_all(StoreSync::Sync::last), options_.final_limit);
    if (cancelled(last)) co_return last;
    if (!last) log::warn("memory.last_sync_cut_off", {{"why", last.error().what}});
  }
  // After a whole last sync too: it swallows its failures, and a flush of nothing costs nothing.
  auto flushed = co_await within(flush_all(), options_.flush_limit);
  if (cancelled(flushed)) co_return flushed;
  std::size_t unsent = 0;
  for (const auto& store : stores_) unsent += store->unsent();
  if (!flushed) log::error("memory.flush_cut_off", {{"files_lost", unsent}});
  if (end == End::lost && options_.of_session) co_return ok;
  for (const auto& store : stores_) CO_TRY_DO(co_await store->remove());
  co_return ok;
}

std::vector<std::string> MemorySync::roots() const {
  std::vector<std::string> roots;
  for (const auto& store : stores_) roots.push_back(store->root());
  return roots;
}

std::vector<std::string> MemorySync::read_only_roots() const {
  std::vector<std::string> roots;
  for (const auto& store : stores_)
    if (store->read_only()) roots.push_back(store->root());
  return roots;
}

}  // namespace glovebox::runner

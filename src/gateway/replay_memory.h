// What was let in once and must not be again, for as long as it could be: a set of hashes with a
// file behind it, so that a process that was killed still knows.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_set>

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"

namespace glovebox::gateway {

class ReplayMemory {
 public:
  using Key = std::array<char, 16>;
  static Key key_of(std::string_view text);

  struct Options {
    std::string path;   // and path.old beside it; empty: in memory alone
    Seconds window{0};  // how long each is remembered, at least; twice as long at most
    std::size_t most = 200'000;
  };
  static Result<ReplayMemory> open(Options options, Clock& clock = system_clock());

  // Code::conflict: it is known already. Code::exhausted: there are too many to remember.
  Result<void> remember(const Key& key);
  void forget(const Key& key);
  std::size_t size() const { return young_.size() + old_.size(); }

 private:
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };
  using Set = std::unordered_set<Key, Hash>;
  ReplayMemory(Options options, Clock& clock) : options_(std::move(options)), clock_(&clock) {}
  Result<void> load();
  void load_file(const std::string& path);
  void grow_old();
  void note(char what, const Key& key);

  Options options_;
  Clock* clock_;
  // Nothing has a time of its own: what is in `old_` was let in before all of `young_`, and goes
  // all at once.
  Set young_, old_;
  std::int64_t young_since_ms_ = 0;
  Fd file_;
  bool complained_ = false;
};

}  // namespace glovebox::gateway

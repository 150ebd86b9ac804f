// Ranges of user ids, claimed machine-wide: every box has 65,536 of its own, and several instances
// (state directories) live side by side. A claim is a file; whoever changes claims holds one lock;
// a claim whose instance is gone may be taken over.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::engine {

// The machine's lock of claims, and of whatever else its instances share; held while the descriptor
// is open.
Result<Fd> lock_claims(const std::string& directory);

class Claims {
 public:
  static constexpr uid_t kFirst = 1u << 29;  // above what people, services and subuid files use
  static constexpr uid_t kLast = 1u << 31;   // ids are signed in too many programs
  static constexpr unsigned kPerBlock = 128;

  // `directory` is the machine's ("/run/glovebox/claims"); `owner` the state directory, which holds
  // a file `instance`.
  Claims(std::string directory, std::string owner, std::string instance);
  Result<void> load();     // the blocks we hold from before
  Result<void> extend();   // one block more
  Result<void> release();  // all of ours
  // First id of each range that we hold.
  const std::vector<uid_t>& ranges() const { return ranges_; }

 private:
  std::string file(unsigned block) const;
  Result<bool> free_to_take(const std::string& path) const;
  std::string directory_, owner_, instance_;
  std::vector<uid_t> ranges_;
};

}  // namespace glovebox::engine

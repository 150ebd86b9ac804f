// The folder of one memory store, wherever it is: in a box, or on this host. A tenant writes to it
// at any time: no link is followed, only plain files are seen, and what is there may change between
// any two calls.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "net/loop.h"
#include "runner/memory_store.h"

namespace glovebox::runner {

// Paths are relative to the folder.
class MemoryFolder {
 public:
  virtual ~MemoryFolder() = default;
  virtual Task<bool> exists() = 0;  // anything at all at its place
  // Of one that is there: whether it was ours, and whoever had it is gone. Then it is ours again.
  virtual Task<bool> claim() = 0;
  // With those above it that are missing; mode 0700.
  virtual Task<void> create() = 0;
  // Every plain file below it with its SHA-256; nothing where the folder is not there. An error
  // also where not all could be seen: what is missing here counts as deleted.
  virtual Task<Hashes> scan() = 0;
  virtual Task<std::optional<std::string>> hash(std::string path) = 0;  // nullopt: not there
  // nullopt: not there; Code::too_large over `limit`.
  virtual Task<std::optional<std::string>> read(std::string path, std::size_t limit) = 0;
  // Replaces the file in one step, mode 0600, and makes the folders it needs below this one, mode
  // 0700. The folder itself is not made again: who removed it has a reason.
  virtual Task<void> write(std::string path, std::string content) = 0;
  virtual Task<void> remove(std::string path) = 0;  // gone already is success
  virtual Task<void> remove_all() = 0;              // the folder and everything in it
};
using OpenMemoryFolder = std::function<std::shared_ptr<MemoryFolder>(std::string root)>;

}  // namespace glovebox::runner

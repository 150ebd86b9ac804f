// The few calls of btrfs that the engine's pool is made of. Names are entries of a directory given
// by descriptor: one path component, never a link that is followed.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace glovebox::sys {

bool is_btrfs(int fd);
bool is_subvolume(int fd);  // its top directory

Result<void> make_subvolume(int parent, const std::string& name);
enum class Copy { writable, sealed };
// A copy of the subvolume `source` as it is now, whatever its size. Committed to disk on return.
Result<void> copy_subvolume(int source, int parent, const std::string& name, Copy copy);
// Gone already is success. The space comes back in the background.
Result<void> remove_subvolume(int parent, const std::string& name);

// How the pool counts. `simple` charges an extent to the subvolume that wrote it, so a copy begins
// at zero; `full` counts all a subvolume refers to, shared or not, and costs more.
enum class Quota { none, simple, full };
std::string_view name(Quota quota);
Result<Quota> quota_of(int fd);
Result<Quota> enable_quota(int fd);  // simple where the kernel has it (6.7), else full
// Of the subvolume, in bytes of files and their metadata; 0: none.
Result<void> limit_subvolume(int subvolume, std::uint64_t bytes);
struct SubvolumeUsage {
  std::uint64_t used = 0, limit = 0;  // as the quota counts
};
Result<SubvolumeUsage> usage_of(int subvolume);
Result<std::uint64_t> subvolume_id(int subvolume);

// The file system's size in its only device: at most the device's.
Result<void> resize(int fd, std::uint64_t bytes);
Result<void> commit(int fd);  // all that was written so far is on disk

}  // namespace glovebox::sys

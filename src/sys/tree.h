// Files and directories by descriptor. Trees left by a tenant are hostile: any depth, any name,
// links that point at the host.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

// Removes `name` below the directory `parent_fd`, whatever it is. Links are removed and never
// followed, other file systems are not entered (Code::conflict), depth costs neither stack nor
// descriptors. Gone already is success. Interrupted anywhere, the rest is removed by calling it
// again. Nobody may be writing to the tree meanwhile; if somebody is, it may fail, not escape.
// With `stop`, another thread can end it early (Code::cancelled): large trees take seconds.
Result<void> remove_tree(int parent_fd, const std::string& name,
                         const std::atomic<bool>* stop = nullptr);
Result<void> remove_tree(const std::string& path,
                         const std::atomic<bool>* stop = nullptr);  // for paths of ours alone

// Opens `path` with the directory `root` as the end of the world: "..", absolute links and links
// that change meanwhile lead nowhere else. A link at the end is followed too, unless O_NOFOLLOW.
Result<Fd> open_in_root(int root, const std::string& path, int flags);

// `path` and what is missing above it; what exists stays as it is. The mode is exact, whatever the
// umask.
Result<void> make_dirs(const std::string& path, mode_t mode);

// A file that is not there yet. The mode is exact; what is on disk after a power loss is the
// caller's matter.
Result<void> create_file(const std::string& path, std::string_view content, mode_t mode);

// After a crash or power loss the file holds the old content or the new, never a part. One writer
// per path at a time.
Result<void> write_file_atomic(const std::string& path, std::string_view content, mode_t mode);

// The whole file; Code::too_large if it is longer than `limit`.
Result<std::string> read_file(const std::string& path, std::size_t limit);
Result<std::string> read_all(int fd, std::size_t limit);

}  // namespace glovebox::sys

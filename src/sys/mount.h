// Mounts by descriptor: nothing here takes part in a race over a path that somebody else can
// change.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

// A detached copy of the mount at `path`, without what is mounted below it.
Result<Fd> clone_mount(int dirfd, const std::string& path);
// Attributes (MOUNT_ATTR_*) of a detached mount; with `userns` its files are seen through that user
// namespace's map.
Result<void> set_mount(int mount, std::uint64_t attributes, int userns = -1);
Result<void> attach_mount(int mount, int dirfd, const std::string& path);
Result<void> move_mount_tree(const std::string& from, const std::string& to);

using FsOptions =
    std::initializer_list<std::pair<const char*, std::string_view>>;  // {"size", "1m"}; a flag has
                                                                      // ""
// A new file system, detached. `source` is what the box sees in its mount table.
Result<Fd> make_fs(const char* type, const char* source, FsOptions options,
                   std::uint64_t attributes);
// As make_fs("overlay"), by user `base` of the initial namespace: the overlay keeps its mounter's
// ids for all later copy-ups, and 0 has no place in an idmapped upper.
Result<Fd> make_overlay(const std::string& lower, const std::string& upper, const std::string& work,
                        uid_t base, std::uint64_t attributes);

// From now on this process, and the threads it starts, have mounts of their own: the machine's
// still come and go here, ours are seen by nobody else and end with the last process that has them.
// To be called before there are threads.
Result<void> own_mount_namespace();

// Directories of a box that are a mount of their own where the image has nothing in them (box.cc).
inline constexpr const char* kDirectDirectories[] = {"tmp", "workspace"};

// The directory `path` below `root`, the root of a box whose files belong to user `base`; what is
// missing is made. Links on the way are followed inside the root, and nothing is made or found in
// other mounts than the root's and those of the direct directories: what was put there by somebody
// hostile can lead a mount nowhere else.
Result<Fd> mount_place(int root, const std::string& path, uid_t base);

// Makes `new_root` (a mount point) the root of this mount namespace and forgets the old one.
Result<void> pivot_to(const std::string& new_root);

}  // namespace glovebox::sys

// How a process becomes the first one of a box, in two stages: what is the same for every box is
// done ahead (stage), what this box is about is done at the moment it is wanted (enter). Both run
// in the child that the launcher cloned with new pid and mount namespaces, with the host's
// privileges until `enter` gives them up.
//
// Mount and pid namespace belong to the initial user namespace: nothing inside can ever hold mount
// privilege over them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "sys/namespaces.h"

namespace glovebox::sys {

// The launcher's own root: a tree of nothing but what boxes are made of, so that copying the mount
// namespace is cheap and no path of the host is in reach.
//   /proc  /usr (the host's)  /state (the engine's directory)  /cg/{unified,memory,pids,cpu}  /dev
//   (template) /empty-file /empty-dir (masks)  /views/N (the host's /usr as boxes see it)
//   /stage/{root,facts,lower,box} (where a child builds)
struct LauncherMounts {
  std::string state_dir;
  std::string unified, memory, pids, cpu;  // cgroup mount points; empty: none
};
Result<void> enter_launcher_root(const LauncherMounts& mounts);

// Mounts the host's /usr under `mask`, a layer that hides /usr/local and what not everybody may
// read, at `place`. Made once and shared by all boxes. It is not seen through their ids on purpose:
// to a box's root its owners are nobody, so the kernel lets nothing be read that the world may not
// read, even if it came after the mask was made.
Result<void> make_usr_view(const std::string& mask, const std::string& place);

struct BoxSize {  // as it is seen inside
  std::int64_t memory_bytes = 0;
  std::uint32_t cpus = 1;
  bool operator==(const BoxSize&) const = default;
};

struct StagePlan {
  uid_t base = 0;
  std::string image_root;  // lower layer
  std::string box_dir;     // with u (upper) and w (work): one mount, and both in a snapshot
  std::string usr_view;    // where make_usr_view() put it; empty: the image brings its own /usr
  BoxSize size;            // what most boxes are
};
struct StagedBox {
  BoxSize size;
  std::vector<Fd> facts;  // the files of kFactNames, in that order
};
// After it the box's root is the caller's root, with all that is mounted in it; the host's
// privileges are still there.
Result<StagedBox> stage_box(const StagePlan& plan, const Namespaces& namespaces);

// Before `enter`, for a child forked from the caller that needs nothing of the host's any more: it
// becomes what `enter` makes of the caller, whose host name it will have.
Result<void> follow_into_box(const Namespaces& namespaces);

// After it the caller is root of the box and of nothing else: capabilities, ids and name spaces are
// the box's.
Result<void> enter_box(StagedBox box, const BoxSize& size, const std::string& hostname,
                       const Namespaces& namespaces);

}  // namespace glovebox::sys

// Volumes: named directories that outlive boxes, mounted into those that ask for them when they are
// made. Each is a subvolume of the pool with a quota, STATE/pool/volumes/ID. Any number of boxes
// may have one at once; what they see is one file system, with plain owners in each.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "net/loop.h"
#include "store/database.h"
#include "sys/inside_mount.h"
#include "wire/sandbox.h"

namespace glovebox::engine {

struct Core;

struct Volume {
  std::string id, name;
  std::int64_t size_mb = 10240;
  std::int64_t created_at = 0;     // unix ms
  std::vector<std::string> users;  // ids of the sandboxes that have it
};
std::string encode(const Volume& volume);

// Which of a box's mounts is which of the volumes it is said to have; one of `mounts` each. Where
// the tenant's links led, it is at another place than was said: only what is at no place that was
// said for another can be that.
std::vector<std::optional<sys::MountedInside>> mounts_for(
    const std::vector<wire::FileSystem>& noted, std::vector<sys::MountedInside> mounts);

class Volumes {
 public:
  explicit Volumes(Core& core) : core_(core) {}
  Task<void> open();
  Task<Volume> create(std::string name, std::int64_t size_mb);
  Result<Volume> get(const std::string& id_or_name);
  Result<std::vector<Volume>> list();
  // Code::conflict while a sandbox has it.
  Task<void> remove(std::string id_or_name);

  // What a create asks for, by id from here on; refused where something is there that must stay.
  Result<std::vector<wire::FileSystem>> check(const std::vector<wire::FileSystem>& wanted,
                                              bool usr_is_the_hosts);
  static Result<std::string> clean(const std::string& mount_path);  // "/a//b/." is "/a/b"

 private:
  Result<std::optional<Volume>> find(const std::string& id_or_name);
  std::map<std::string, std::vector<std::string>> users() const;  // volume → sandboxes
  Core& core_;
  std::optional<store::Database> db_;
  Fd dir_;
};

}  // namespace glovebox::engine

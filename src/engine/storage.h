// The pool: one btrfs that holds the files of all boxes and snapshots, each a subvolume with a
// quota of its own. Making, copying and removing one costs the same however many files are in it.
//
// It is, in this order: the directory on btrfs that the operator names; the state directory, where
// that is on a btrfs that counts already (turning quotas on is not ours to do on a file system that
// we were not given); else a sparse file that we make, grow and shrink with what the disk below can
// give. Whatever it is, it stands at STATE/pool, in the engine's own mount namespace: a mount there
// lasts as long as the engine, the launcher or a box uses it, and leaves nothing on the machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "sys/btrfs.h"
#include "sys/loop_device.h"

namespace glovebox::engine {

class Storage {
 public:
  struct Options {
    std::string state_dir;
    std::string place;  // engine.pool: a directory on btrfs; empty: the state directory or a file
    std::string instance;
    std::int64_t reserve_mb = 1024;
  };
  // All calls block; they are for the pool of threads, and may run side by side but for tend().
  static Result<Storage> open(Options options);

  // A box's upper and work directory, `u` and `w`, at STATE/pool/boxes/ID.
  Result<void> make_upper(const std::string& id) const;
  Result<void> copy_upper(const std::string& id, const std::string& snapshot) const;
  // The same of any subvolume with `u` and `w` in it, by its path below the pool.
  Result<void> copy_tree(const std::string& id, const std::string& below) const;
  // A sealed copy of a box's files as they are now: snapshots/ID.
  Result<void> seal_upper(const std::string& id, const std::string& snapshot) const;
  Result<void> remove_upper(const std::string& id) const;  // gone already is success
  Result<void> limit_upper(const std::string& id, std::int64_t megabytes) const;
  Result<std::uint64_t> used_by_upper(const std::string& id) const;
  // What a snapshot is, beside its files. Survives a power cut once it is written.
  Result<void> write_manifest(const std::string& id, const std::string& text) const;
  Result<std::string> read_manifest(const std::string& id) const;
  Result<void> remove_snapshot(const std::string& id) const;  // files and manifest; may be gone
  Result<std::vector<std::string>> uppers() const;
  Result<std::vector<std::string>> snapshots() const;  // with files, a manifest or both
  Result<Fd> open_upper(const std::string& id) const;
  Result<Fd> open_snapshot(const std::string& id) const;
  Result<void> commit() const { return sys::commit(root_.get()); }

  struct Room {
    std::uint64_t free = 0, size = 0;  // of the pool
    std::uint64_t below = 0;           // free on the disk the state directory is on
  };
  Result<Room> room() const;
  // Code::exhausted when less than the reserve is left: new things are refused before anything
  // that exists breaks.
  Result<void> check_room() const;
  // Grows or shrinks the file with what the disk below can give; called every few seconds.
  Result<void> tend();

  const std::string& kind() const { return kind_; }  // "file STATE/pool.btrfs", for people
  sys::Quota quota() const { return quota_; }

 private:
  explicit Storage(Options options) : options_(std::move(options)) {}
  Result<void> mount_file();
  Result<void> make_file(const std::string& path);
  Result<void> bind_place();
  Result<void> set_up();
  std::string manifest_path(const std::string& id) const;
  std::uint64_t wanted_size(std::uint64_t allocated, std::uint64_t free) const;

  Options options_;
  std::string kind_;
  sys::Quota quota_ = sys::Quota::none;
  Fd root_, boxes_, snapshots_;
  Fd file_;  // of a pool in a file
  std::optional<sys::LoopDevice> device_;
};

}  // namespace glovebox::engine

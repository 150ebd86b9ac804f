#include "engine/storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/log.h"
#include "base/metrics.h"
#include "sys/mount.h"
#include "sys/process.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

constexpr std::uint64_t kMega = 1 << 20, kGiga = 1 << 30;
constexpr std::uint64_t kSmallest =
    kGiga;  // of a pool in a file: sparse, so it costs next to nothing
constexpr std::uint64_t kLargest = 64 * 1024 * kGiga;
constexpr std::size_t kManifest = 1 << 20;
constexpr const char* kFile = "pool.btrfs";

metrics::Gauge pool_size("engine_pool_size_bytes", "What the pool can hold.");
metrics::Gauge pool_free("engine_pool_free_bytes", "What is free of it.");

Result<Fd> open_dir(int parent, const std::string& name) {
  Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return sys_error(str("open ", name));
  return fd;
}

// Names may come from a request.
Result<Fd> open_entry(int parent, const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
    return Error{Code::not_found, str("nothing is called \"", name, "\"")};
  return open_dir(parent, name);
}

Result<std::string> find_program(const char* name) {
  for (const char* folder : {"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"})
    if (std::string path = str(folder, "/", name); ::access(path.c_str(), X_OK) == 0) return path;
  return Error{Code::unavailable,
               str("no program ", name, ", which makes the pool: apt-get install btrfs-progs"),
               "NO_BTRFS"};
}

Result<void> format(const std::string& path, const std::string& label) {
  TRY(program, find_program("mkfs.btrfs"));
  Fd said(::memfd_create("mkfs", MFD_CLOEXEC));
  if (!said) return sys_error("memory for what mkfs says");
  sys::SpawnSpec spec;
  spec.program = program;
  // One copy of the metadata: what is below the file has its own ideas about lost blocks.
  spec.args = {"mkfs.btrfs", "--quiet", "--label", label, "--metadata",
               "single",     "--data",  "single",  path};
  spec.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  spec.fds = {{said.get(), 1}, {said.get(), 2}};
  TRY(child, sys::spawn(spec));
  TRY(status, child.reap());
  if (status == 0) return ok;
  ::lseek(said.get(), 0, SEEK_SET);
  auto words = sys::read_all(said.get(), 64 * 1024);
  return Error{Code::internal, str("mkfs.btrfs: ", words ? trim(*words) : "failed")};
}

std::uint64_t allocated_of(int file) {
  struct stat info{};
  return ::fstat(file, &info) == 0 ? static_cast<std::uint64_t>(info.st_blocks) * 512 : 0;
}

Result<std::vector<std::string>> names_in(int directory) {
  Fd fresh(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })> dir(
      fresh ? ::fdopendir(fresh.get()) : nullptr);
  if (!dir) return sys_error("list the pool");
  (void)fresh.release();
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(dir.get()))
    if (std::string_view name = entry->d_name; name != "." && name != "..")
      names.emplace_back(name);
  return names;
}

// A subvolume, or what an interrupted import or an older version left as a plain directory.
Result<void> remove_any(int parent, const std::string& name) {
  auto dir = open_entry(parent, name);
  if (!dir && dir.error().code == Code::not_found) return ok;
  if (dir && !sys::is_subvolume(dir->get())) return sys::remove_tree(parent, name);
  return sys::remove_subvolume(parent, name);
}

}  // namespace

Result<Storage> Storage::open(Options options) {
  Storage storage(std::move(options));
  TRY_DO(sys::make_dirs(storage.options_.state_dir + "/pool", 0700));
  if (!storage.options_.place.empty()) {
    TRY_DO(storage.bind_place(), "pool in ", storage.options_.place);
  } else {
    Fd state(::open(storage.options_.state_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!state) return sys_error("open state directory");
    auto quota = sys::is_btrfs(state.get()) ? sys::quota_of(state.get())
                                            : Result<sys::Quota>(sys::Quota::none);
    if (quota && *quota != sys::Quota::none) {
      storage.kind_ = str("directory ", storage.options_.state_dir, "/pool");
      storage.quota_ = *quota;
    } else {
      TRY_DO(storage.mount_file(), "pool in a file");
    }
  }
  TRY_DO(storage.set_up(), "pool");
  log::info("engine.pool", {{"kind", storage.kind_}, {"quota", name(storage.quota_)}});
  return storage;
}

// The operator's directory: ours is one in it with the instance's name.
Result<void> Storage::bind_place() {
  std::string mine = str(options_.place, "/glovebox-", options_.instance);
  TRY_DO(sys::make_dirs(mine, 0700));
  TRY(dir, open_dir(AT_FDCWD, mine));
  if (!sys::is_btrfs(dir.get()))
    return Error{Code::unavailable,
                 "not on btrfs; name another directory in engine.pool, or none: the engine then "
                 "makes a file of its own",
                 "NO_BTRFS"};
  TRY(quota, sys::quota_of(dir.get()));
  if (quota == sys::Quota::none) TRY_DO(sys::enable_quota(dir.get()));
  TRY(mount, sys::clone_mount(AT_FDCWD, mine));
  kind_ = "directory " + mine;
  return sys::attach_mount(mount.get(), AT_FDCWD, options_.state_dir + "/pool");
}

Result<void> Storage::mount_file() {
  std::string path = str(options_.state_dir, "/", kFile);
  if (::access(path.c_str(), F_OK) < 0) TRY_DO(make_file(path), "make ", path);
  file_.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file_) return sys_error(str("open ", path));
  TRY(there, sys::find_loop_device(file_.get()));
  if (!there) {
    TRY(fresh, sys::attach_loop_device(file_.get()));
    there = std::move(fresh);
  }
  device_ = std::move(there);
  // Boxes and a launcher that outlived the last engine have it mounted: then this is one more view
  // of the same. Freed blocks go back to the disk below.
  auto mount = sys::make_fs("btrfs", device_->path.c_str(), {{"discard", "async"}},
                            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME);
  if (!mount && mount.error().tag == "ENODEV")
    return Error{Code::unavailable,
                 "this kernel has no btrfs, which snapshots and disk limits are made of: modprobe "
                 "btrfs, or take a kernel that has it",
                 "NO_BTRFS"};
  if (!mount)
    return std::move(mount.error())
        .with(str(path, " cannot be mounted; `btrfs check ", path, "` tells more"));
  kind_ = "file " + path;
  return sys::attach_mount(mount->get(), AT_FDCWD, options_.state_dir + "/pool");
}

// Under another name until it is whole: a crash leaves nothing that looks like a pool.
Result<void> Storage::make_file(const std::string& path) {
  std::string fresh = path + ".new";
  ::unlink(fresh.c_str());
  Fd file(::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return sys_error("create");
  // On a file system that copies on write (btrfs without quotas) it would be done twice.
  int flags = 0;
  if (::ioctl(file.get(), FS_IOC_GETFLAGS, &flags) == 0) {
    flags |= FS_NOCOW_FL;
    (void)::ioctl(file.get(), FS_IOC_SETFLAGS, &flags);
  }
  struct statvfs info{};
  if (::fstatvfs(file.get(), &info) < 0) return sys_error("look at free space");
  std::uint64_t size = wanted_size(0, static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize);
  if (::ftruncate(file.get(), static_cast<off_t>(size)) < 0) return sys_error("set its size");
  TRY_DO(format(fresh, "glovebox-" + options_.instance));
  if (::fsync(file.get()) < 0) return sys_error("flush");
  if (::rename(fresh.c_str(), path.c_str()) < 0) return sys_error("rename");
  return ok;
}

Result<void> Storage::set_up() {
  TRY(root, open_dir(AT_FDCWD, options_.state_dir + "/pool"));
  root_ = std::move(root);
  TRY(quota, sys::quota_of(root_.get()));
  quota_ = quota;
  if (quota_ == sys::Quota::none) {
    TRY(enabled, sys::enable_quota(root_.get()));
    quota_ = enabled;
  }
  TRY_DO(sys::make_dirs(options_.state_dir + "/pool/manifests", 0700));
  for (auto [name, place] : {std::pair{"boxes", &boxes_}, {"snapshots", &snapshots_}}) {
    TRY_DO(sys::make_dirs(str(options_.state_dir, "/pool/", name), 0700));
    TRY(dir, open_dir(root_.get(), name));
    *place = std::move(dir);
  }
  return ok;
}

// ---- uppers

Result<void> Storage::make_upper(const std::string& id) const {
  TRY_DO(sys::make_subvolume(boxes_.get(), id));
  TRY(dir, open_upper(id));
  for (const char* part : {"u", "w"})
    if (::mkdirat(dir.get(), part, 0755) < 0 || ::fchmodat(dir.get(), part, 0755, 0) < 0)
      return sys_error(str("make ", id, "/", part));
  return ok;
}

Result<void> Storage::copy_upper(const std::string& id, const std::string& snapshot) const {
  TRY(source, open_snapshot(snapshot));
  return sys::copy_subvolume(source.get(), boxes_.get(), id, sys::Copy::writable);
}

Result<void> Storage::copy_tree(const std::string& id, const std::string& below) const {
  Fd source(::openat(root_.get(), below.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!source) return sys_error(str("open ", below));
  return sys::copy_subvolume(source.get(), boxes_.get(), id, sys::Copy::writable);
}

Result<void> Storage::seal_upper(const std::string& id, const std::string& snapshot) const {
  TRY(source, open_upper(id));
  return sys::copy_subvolume(source.get(), snapshots_.get(), snapshot, sys::Copy::sealed);
}

Result<void> Storage::remove_upper(const std::string& id) const {
  return remove_any(boxes_.get(), id);
}

Result<void> Storage::remove_snapshot(const std::string& id) const {
  TRY_DO(remove_any(snapshots_.get(), id));
  if (::unlink(manifest_path(id).c_str()) < 0 && errno != ENOENT)
    return sys_error("remove manifest");
  return ok;
}

std::string Storage::manifest_path(const std::string& id) const {
  return str(options_.state_dir, "/pool/manifests/", id);
}

Result<void> Storage::write_manifest(const std::string& id, const std::string& text) const {
  return sys::write_file_atomic(manifest_path(id), text, 0600);
}

Result<std::string> Storage::read_manifest(const std::string& id) const {
  return sys::read_file(manifest_path(id), kManifest);
}

Result<void> Storage::limit_upper(const std::string& id, std::int64_t megabytes) const {
  TRY(dir, open_upper(id));
  return sys::limit_subvolume(dir.get(), static_cast<std::uint64_t>(megabytes) * kMega);
}

Result<std::uint64_t> Storage::used_by_upper(const std::string& id) const {
  TRY(dir, open_upper(id));
  TRY(usage, sys::usage_of(dir.get()));
  return usage.used;
}

Result<Fd> Storage::open_upper(const std::string& id) const { return open_entry(boxes_.get(), id); }
Result<Fd> Storage::open_snapshot(const std::string& id) const {
  return open_entry(snapshots_.get(), id);
}
Result<std::vector<std::string>> Storage::uppers() const { return names_in(boxes_.get()); }
Result<std::vector<std::string>> Storage::snapshots() const {
  TRY(names, names_in(snapshots_.get()));
  TRY(manifests, open_dir(root_.get(), "manifests"));
  TRY(with_manifest, names_in(manifests.get()));
  for (std::string& name : with_manifest)
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  return names;
}

// ---- room

Result<Storage::Room> Storage::room() const {
  struct statvfs pool{}, below{};
  if (::fstatvfs(root_.get(), &pool) < 0 || ::statvfs(options_.state_dir.c_str(), &below) < 0)
    return sys_error("look at free space");
  return Room{static_cast<std::uint64_t>(pool.f_bavail) * pool.f_frsize,
              static_cast<std::uint64_t>(pool.f_blocks) * pool.f_frsize,
              static_cast<std::uint64_t>(below.f_bavail) * below.f_frsize};
}

Result<void> Storage::check_room() const {
  TRY(now, room());
  auto reserve = static_cast<std::uint64_t>(options_.reserve_mb) * kMega;
  if (now.below >= reserve && now.free >= reserve) return ok;
  bool pool = now.below >= reserve;
  return Error{Code::exhausted,
               str("only ", (pool ? now.free : now.below) / kMega, " MB are free ",
                   pool ? "in the pool" : "on the disk of ", pool ? "" : options_.state_dir,
                   ", and ", options_.reserve_mb,
                   " are kept in reserve (engine.reserve_mb): delete sandboxes or snapshots, or "
                   "make room on the disk"),
               "DISK_FULL"};
}

// What is written plus what the disk can still give, but for the reserve: so the pool is full, and
// says so to who writes, before the disk is, which nobody would survive.
std::uint64_t Storage::wanted_size(std::uint64_t allocated, std::uint64_t free) const {
  std::uint64_t reserve = static_cast<std::uint64_t>(options_.reserve_mb) * kMega;
  std::uint64_t wanted = allocated + (free > reserve ? free - reserve : 0);
  return std::clamp(wanted / (256 * kMega) * (256 * kMega), kSmallest, kLargest);
}

Result<void> Storage::tend() {
  TRY(now, room());
  pool_size.set(static_cast<std::int64_t>(now.size));
  pool_free.set(static_cast<std::int64_t>(now.free));
  // What was deleted counts as room once the file system has committed it, which it is in no hurry
  // to do.
  if (!check_room()) (void)commit();
  if (!file_) return ok;
  std::uint64_t wanted = wanted_size(allocated_of(file_.get()), now.below);
  // Not for every gigabyte that somebody else writes or deletes.
  if (wanted > now.size + now.size / 4 && wanted >= now.size + kGiga) {
    struct stat info{};
    if (::fstat(file_.get(), &info) < 0) return sys_error("look at the pool's file");
    if (static_cast<std::uint64_t>(info.st_size) < wanted) {
      if (::ftruncate(file_.get(), static_cast<off_t>(wanted)) < 0)
        return sys_error("grow the pool's file");
      TRY_DO(sys::reread_size(*device_));
    }
    TRY_DO(sys::resize(root_.get(), wanted), "grow the pool");
    log::info("engine.pool_grown", {{"mb", wanted / kMega}});
  } else if (wanted < now.size - now.size / 4) {
    // Somebody else took what we counted on. What holds data stays where it is if there is no
    // better place; the next round tries again.
    auto done = sys::resize(root_.get(), wanted);
    if (!done && done.error().tag != "ENOSPC") return done;
    if (done) log::info("engine.pool_shrunk", {{"mb", wanted / kMega}});
  }
  return ok;
}

}  // namespace glovebox::engine

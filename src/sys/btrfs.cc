#include "sys/btrfs.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "base/fd.h"
#include "sys/tree.h"

namespace glovebox::sys {

namespace {

constexpr long kMagic = 0x9123683e;
constexpr ino_t kTopDirectory = 256;        // of every subvolume
constexpr std::uint64_t kEnableSimple = 4;  // BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA, since 6.7

template <std::size_t size>
Result<void> put_name(char (&place)[size], const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.size() >= size ||
      name.find('/') != std::string::npos)
    return Error{Code::invalid, str("\"", name, "\" is not the name of one entry")};
  std::copy(name.begin(), name.end(), place);
  return ok;
}

// Where the kernel shows the quota of the file system of `fd`.
Result<std::string> quota_dir(int fd) {
  btrfs_ioctl_fs_info_args info{};
  if (::ioctl(fd, BTRFS_IOC_FS_INFO, &info) < 0) return sys_error("look at btrfs");
  std::string id = hex(std::span<const std::uint8_t>(info.fsid, sizeof info.fsid));
  for (std::size_t at : {20, 16, 12, 8}) id.insert(at, "-");
  return str("/sys/fs/btrfs/", id, "/qgroups");
}

}  // namespace

std::string_view name(Quota quota) {
  switch (quota) {
    case Quota::none: return "none";
    case Quota::simple: return "simple";
    case Quota::full: return "full";
  }
  return "unknown";
}

bool is_btrfs(int fd) {
  struct statfs info{};
  return ::fstatfs(fd, &info) == 0 && info.f_type == kMagic;
}

bool is_subvolume(int fd) {
  struct stat info{};
  return is_btrfs(fd) && ::fstat(fd, &info) == 0 && info.st_ino == kTopDirectory;
}

Result<void> make_subvolume(int parent, const std::string& name) {
  btrfs_ioctl_vol_args args{};
  TRY_DO(put_name(args.name, name));
  if (::ioctl(parent, BTRFS_IOC_SUBVOL_CREATE, &args) < 0)
    return sys_error(str("make subvolume ", name));
  return ok;
}

Result<void> copy_subvolume(int source, int parent, const std::string& name, Copy copy) {
  btrfs_ioctl_vol_args_v2 args{};
  args.fd = source;
  if (copy == Copy::sealed) args.flags = BTRFS_SUBVOL_RDONLY;
  TRY_DO(put_name(args.name, name));
  if (::ioctl(parent, BTRFS_IOC_SNAP_CREATE_V2, &args) < 0)
    return sys_error(str("copy to subvolume ", name));
  return ok;
}

Result<void> remove_subvolume(int parent, const std::string& name) {
  btrfs_ioctl_vol_args args{};
  TRY_DO(put_name(args.name, name));
  if (::ioctl(parent, BTRFS_IOC_SNAP_DESTROY, &args) < 0 && errno != ENOENT)
    return sys_error(str("remove subvolume ", name));
  return ok;
}

Result<Quota> quota_of(int fd) {
  TRY(dir, quota_dir(fd));
  if (::access(dir.c_str(), F_OK) < 0) return Quota::none;
  auto mode = sys::read_file(dir + "/mode", 64);  // since 6.7
  return mode && trim(*mode) == "squota" ? Quota::simple : Quota::full;
}

Result<Quota> enable_quota(int fd) {
  for (std::uint64_t command : {kEnableSimple, std::uint64_t{BTRFS_QUOTA_CTL_ENABLE}}) {
    btrfs_ioctl_quota_ctl_args args{};
    args.cmd = command;
    if (::ioctl(fd, BTRFS_IOC_QUOTA_CTL, &args) == 0) break;
    if (errno != EINVAL) return sys_error("enable quota");
  }
  return quota_of(fd);
}

Result<void> limit_subvolume(int subvolume, std::uint64_t bytes) {
  btrfs_ioctl_qgroup_limit_args args{};
  args.lim.flags = BTRFS_QGROUP_LIMIT_MAX_RFER;
  args.lim.max_rfer = bytes ? bytes : ~std::uint64_t{0};  // the kernel's word for "no limit"
  if (::ioctl(subvolume, BTRFS_IOC_QGROUP_LIMIT, &args) < 0) return sys_error("limit subvolume");
  return ok;
}

Result<std::uint64_t> subvolume_id(int subvolume) {
  btrfs_ioctl_ino_lookup_args args{};
  args.objectid = BTRFS_FIRST_FREE_OBJECTID;
  if (::ioctl(subvolume, BTRFS_IOC_INO_LOOKUP, &args) < 0) return sys_error("id of subvolume");
  return args.treeid;
}

Result<SubvolumeUsage> usage_of(int subvolume) {
  TRY(dir, quota_dir(subvolume));
  TRY(id, subvolume_id(subvolume));
  SubvolumeUsage usage;
  for (auto [file, value] :
       {std::pair{"referenced", &usage.used}, {"max_referenced", &usage.limit}}) {
    TRY(text, sys::read_file(str(dir, "/0_", id, "/", file), 64));
    *value = parse_int<std::uint64_t>(trim(text)).value_or(0);
  }
  if (usage.limit == ~std::uint64_t{0}) usage.limit = 0;
  return usage;
}

Result<void> resize(int fd, std::uint64_t bytes) {
  btrfs_ioctl_vol_args args{};
  TRY_DO(put_name(args.name, str(bytes)));
  if (::ioctl(fd, BTRFS_IOC_RESIZE, &args) < 0) return sys_error(str("resize to ", bytes));
  return ok;
}

Result<void> commit(int fd) {
  if (::syncfs(fd) < 0) return sys_error("flush file system");
  return ok;
}

}  // namespace glovebox::sys

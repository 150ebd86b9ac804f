#include "sys/mount.h"

#include <fcntl.h>
#include <linux/btrfs_tree.h>
#include <linux/openat2.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <set>

namespace glovebox::sys {

Result<Fd> clone_mount(int dirfd, const std::string& path) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW |
                   (path.empty() ? AT_EMPTY_PATH : 0);
  int fd = ::open_tree(dirfd, path.c_str(), flags);
  if (fd < 0) return sys_error(str("copy mount of ", path));
  return Fd(fd);
}

Result<void> set_mount(int mount, std::uint64_t attributes, int userns) {
  mount_attr attr{};
  attr.attr_set = attributes;
  if (attributes & MOUNT_ATTR__ATIME) attr.attr_clr = MOUNT_ATTR__ATIME;  // one of several
  if (userns >= 0) {
    attr.attr_set |= MOUNT_ATTR_IDMAP;
    attr.userns_fd = static_cast<std::uint64_t>(userns);
  }
  if (::mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
    return sys_error("mount attributes");
  return ok;
}

Result<void> attach_mount(int mount, int dirfd, const std::string& path) {
  if (::move_mount(mount, "", dirfd, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0)
    return sys_error(str("attach mount at ", path));
  return ok;
}

Result<void> move_mount_tree(const std::string& from, const std::string& to) {
  if (::move_mount(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0) < 0)
    return sys_error(str("move mount ", from, " to ", to));
  return ok;
}

// The kernel explains a refused mount in the context's log: "e overlay: upperdir is in-use".
static Error fs_error(int fs, std::string what) {
  int error = errno;
  char line[512];
  ssize_t n = ::read(fs, line, sizeof line - 1);
  Error made = sys_error(std::move(what), error);
  if (n > 0) made.what += str(" (", trim(std::string_view(line, static_cast<std::size_t>(n))), ")");
  return made;
}

static Result<Fd> new_fs(const char* type, const char* source) {
  Fd fs(::fsopen(type, FSOPEN_CLOEXEC));
  if (!fs) return sys_error(str("new ", type));
  if (::fsconfig(fs.get(), FSCONFIG_SET_STRING, "source", source, 0) < 0)
    return fs_error(fs.get(), str(type, " source"));
  return fs;
}

static Result<Fd> mount_of(const Fd& fs, const char* type, std::uint64_t attributes) {
  int fd = ::fsmount(fs.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes));
  if (fd < 0) return fs_error(fs.get(), str("mount of ", type));
  return Fd(fd);
}

static Result<void> option(const Fd& fs, const char* key, std::string_view value) {
  int done = value.empty()
                 ? ::fsconfig(fs.get(), FSCONFIG_SET_FLAG, key, nullptr, 0)
                 : ::fsconfig(fs.get(), FSCONFIG_SET_STRING, key, std::string(value).c_str(), 0);
  if (done < 0) return fs_error(fs.get(), str("option ", key, "=", value));
  return ok;
}

Result<Fd> make_fs(const char* type, const char* source, FsOptions options,
                   std::uint64_t attributes) {
  TRY(fs, new_fs(type, source));
  for (const auto& [key, value] : options) TRY_DO(option(fs, key, value), type);
  if (::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0)
    return fs_error(fs.get(), str("create ", type));
  return mount_of(fs, type, attributes);
}

// Ids for file access of `base` while it lives; capabilities stay.
class FileIds {
 public:
  explicit FileIds(uid_t base) {
    ::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);  // else the capabilities go with the fsuid
    ::setfsuid(base);
    ::setfsgid(base);
  }
  FileIds(const FileIds&) = delete;
  ~FileIds() {
    ::setfsuid(0);
    ::setfsgid(0);
    ::prctl(PR_SET_SECUREBITS, 0);
  }
};

Result<Fd> make_overlay(const std::string& lower, const std::string& upper, const std::string& work,
                        uid_t base, std::uint64_t attributes) {
  TRY(fs, new_fs("overlay", "box"));
  TRY_DO(option(fs, "lowerdir", lower));
  if (!upper.empty()) {
    TRY_DO(option(fs, "upperdir", upper));
    TRY_DO(option(fs, "workdir", work));
    // Fixed, because the defaults differ between distributions and an upper must mean the same
    // everywhere.
    TRY_DO(option(fs, "index", "off"));
    TRY_DO(option(fs, "metacopy", "off"));
  }
  TRY_DO(option(fs, "redirect_dir", "nofollow"));
  TRY_DO(option(fs, "xino", "off"));
  int created;
  {
    FileIds as_base(base);
    created = ::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  }
  if (created < 0) return fs_error(fs.get(), "create overlay");
  TRY(mount, mount_of(fs, "overlay", attributes));
  struct statvfs info{};
  if (::fstatvfs(mount.get(), &info) < 0) return sys_error("look at overlay");
  // An overlay that cannot use its work directory turns read-only and says so only in the kernel's
  // log.
  if (!upper.empty() && (info.f_flag & ST_RDONLY))
    return Error{Code::internal,
                 "the overlay came up read-only: its upper directory cannot be used"};
  return mount;
}

Result<void> own_mount_namespace() {
  if (::unshare(CLONE_NEWNS) < 0) return sys_error("own mount namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) < 0)
    return sys_error("keep our mounts to ourselves");
  return ok;
}

namespace {

// A directory, and the mount it was found in.
struct Found {
  Fd fd;
  std::uint64_t mount = 0, inode = 0;
};

Result<Found> below(int root, const std::string& path, std::uint64_t more = 0) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | more;
  Fd fd(static_cast<int>(
      ::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how)));
  if (!fd) return sys_error(path);
  struct statx info{};
  if (::statx(fd.get(), "", AT_EMPTY_PATH, STATX_MNT_ID | STATX_INO, &info) < 0)
    return sys_error(str("look at ", path));
  return Found{std::move(fd), info.stx_mnt_id, info.stx_ino};
}

// The mounts in which a box's own files are.
Result<std::set<std::uint64_t>> own_mounts(int root) {
  TRY(top, below(root, ""));
  std::set<std::uint64_t> own{top.mount};
  for (const char* name : kDirectDirectories) {
    auto direct = below(root, name, RESOLVE_NO_SYMLINKS);
    // The root of a subvolume is that of a volume, which may stand there as well.
    if (direct && direct->inode != BTRFS_FIRST_FREE_OBJECTID) own.insert(direct->mount);
  }
  return own;
}

}  // namespace

Result<Fd> mount_place(int root, const std::string& path, uid_t base) {
  FileIds as_base(base);
  TRY(own, own_mounts(root));
  std::string so_far;
  TRY(at, below(root, ""));
  for (const auto& part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return Error{Code::invalid, str(path, ": a path that leads upwards")};
    so_far += "/" + part;
    auto next = below(root, so_far);
    if (!next && next.error().code == Code::not_found) {
      if (::mkdirat(at.fd.get(), part.c_str(), 0755) < 0) return sys_error(str("make ", so_far));
      next = below(root, so_far);
    }
    if (!next) return std::move(next.error());
    if (!own.contains(next->mount))
      return Error{Code::invalid, str(so_far, ": leads into another mount")};
    at = std::move(*next);
  }
  if (so_far.empty()) return Error{Code::invalid, "the root is no place to mount at"};
  return std::move(at.fd);
}

Result<void> pivot_to(const std::string& new_root) {
  if (::chdir(new_root.c_str()) < 0) return sys_error(str("enter ", new_root));
  if (::syscall(SYS_pivot_root, ".", ".") < 0) return sys_error("pivot_root");
  if (::umount2(".", MNT_DETACH) < 0) return sys_error("detach old root");
  if (::chdir("/") < 0) return sys_error("enter /");
  return ok;
}

}  // namespace glovebox::sys

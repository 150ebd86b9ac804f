#include "sys/inside_mount.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "sys/mount.h"
#include "sys/own_thread.h"
#include "sys/tree.h"

namespace glovebox::sys {

namespace {

constexpr std::size_t kMountTable = 4 << 20;

Result<void> enter_mounts(int process) {
  // Threads share root and working directory, which a mount namespace changes.
  if (::unshare(CLONE_FS) < 0) return sys_error("own working directory");
  if (::setns(process, CLONE_NEWNS) < 0) return sys_error("enter the mount namespace");
  return ok;
}

Result<Fd> detached(const InsideMount& mount, int ids) {
  TRY(source, clone_mount(AT_FDCWD, mount.source));
  TRY_DO(set_mount(
      source.get(),
      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mount.read_only ? MOUNT_ATTR_RDONLY : 0ull), ids));
  return std::move(source);
}

Result<void> attach_all(const std::vector<Fd>& sources, uid_t base,
                        const std::vector<InsideMount>& mounts) {
  Fd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return sys_error("open the box's root");
  std::vector<Fd> places;  // found before the first is mounted
  for (const InsideMount& mount : mounts) {
    TRY(place, mount_place(root.get(), mount.target, base), "place for ", mount.target);
    places.push_back(std::move(place));
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (::move_mount(sources[i].get(), "", places[i].get(), "",
                     MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0)
      continue;
    Error error = sys_error(str("mount at ", mounts[i].target));
    while (i-- > 0)  // each is its mount's root by now
      if (::fchdir(sources[i].get()) == 0) ::umount2(".", MNT_DETACH);
    return error;
  }
  return ok;
}

// "\040" and the like: a name may have spaces.
std::string unescaped(std::string_view field) {
  std::string out;
  for (std::size_t i = 0; i < field.size(); ++i) {
    auto digit = [&](std::size_t at) {
      return at < field.size() && field[at] >= '0' && field[at] <= '7';
    };
    if (field[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      out += static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 +
                               (field[i + 3] - '0'));
      i += 3;
    } else {
      out += field[i];
    }
  }
  return out;
}

}  // namespace

Result<Fd> ids_of(pid_t pid, int process) {
  Fd ids(::open(str("/proc/", pid, "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  if (!ids) return sys_error("user namespace of the box");
  // While it lives its number is nobody else's.
  if (::syscall(SYS_pidfd_send_signal, process, 0, nullptr, 0) < 0)
    return sys_error("the box's first process");
  return ids;
}

Result<void> mount_in_box(int process, int ids, uid_t base,
                          const std::vector<InsideMount>& mounts) {
  std::vector<Fd> sources;
  for (const InsideMount& mount : mounts) {
    TRY(source, detached(mount, ids), "mount ", mount.source);
    sources.push_back(std::move(source));
  }
  return on_own_thread<void>([&]() -> Result<void> {
    TRY_DO(enter_mounts(process));
    return attach_all(sources, base, mounts);
  });
}

Result<std::vector<MountedInside>> mounts_of(pid_t pid) {
  TRY(table, read_file(str("/proc/", pid, "/mountinfo"), kMountTable));
  std::vector<MountedInside> mounts;
  for (const auto& line : split(table, '\n')) {
    auto fields = split(line, ' ');
    if (fields.size() < 5) continue;
    auto id = parse_int<std::uint64_t>(fields[0]);
    if (id) mounts.push_back({*id, unescaped(fields[3]), unescaped(fields[4])});
  }
  return mounts;
}

Result<void> unmount_in_box(int process, const MountedInside& mount) {
  return on_own_thread<void>([&]() -> Result<void> {
    TRY_DO(enter_mounts(process));
    open_how how{};
    how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    Fd place(
        static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, mount.place.c_str(), &how, sizeof how)));
    if (!place) return sys_error(str("open ", mount.place));
    struct statx info{};
    if (::statx(place.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &info) < 0)
      return sys_error(str("look at ", mount.place));
    // Somebody in there moved the directories above it: what is to be unmounted is that mount, and
    // neither a mask of /proc nor the root.
    if (info.stx_mnt_id != mount.id)
      return Error{Code::not_found, str(mount.place, ": it was moved; try again")};
    if (::fchdir(place.get()) < 0) return sys_error(str("enter ", mount.place));
    if (::umount2(".", MNT_DETACH) < 0) return sys_error(str("unmount ", mount.place));
    return ok;
  });
}

}  // namespace glovebox::sys

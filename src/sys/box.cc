#include "sys/box.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "sys/mount.h"
#include "sys/proc_facts.h"

namespace glovebox::sys {

namespace {

constexpr std::uint64_t kPlain = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr std::uint64_t kInert = kPlain | MOUNT_ATTR_NOEXEC;
// Of the box's own files nobody keeps when they were read: that would write for every read.
constexpr std::uint64_t kFiles = kPlain | MOUNT_ATTR_NOATIME;

// What a box may do to itself. Each is void outside its user namespace.
constexpr int kCapabilities[] = {
    CAP_CHOWN,             // package managers and tar set owners
    CAP_DAC_OVERRIDE,      // root reads and writes what users of the box own
    CAP_FOWNER,            // and changes its modes
    CAP_FSETID,            // and keeps set-id bits while doing so
    CAP_KILL,              // root ends its users' processes
    CAP_SETGID,            // su, package managers, the hand's `user`
    CAP_SETUID,            // likewise
    CAP_SETPCAP,           // programs that give up capabilities
    CAP_NET_BIND_SERVICE,  // servers on ports below 1024
    CAP_SYS_CHROOT,        // package managers and build tools
    CAP_SETFCAP,           // package managers (file capabilities gain nothing: no_new_privs)
};

// Names in /proc that tell of the host or act on it. Those that do not exist on this kernel are
// passed over.
constexpr const char* kMaskedFiles[] = {
    "kcore",         "keys",          "key-users",        "timer_list",  "sched_debug",
    "sysrq-trigger", "kmsg",          "kallsyms",         "modules",     "iomem",
    "ioports",       "interrupts",    "softirqs",         "cmdline",     "partitions",
    "diskstats",     "config.gz",     "slabinfo",         "vmallocinfo", "zoneinfo",
    "buddyinfo",     "pagetypeinfo",  "mdstat",           "schedstat",   "locks",
    "consoles",      "latency_stats", "vmstat",           "swaps",       "kpagecount",
    "kpageflags",    "kpagecgroup",   "allocinfo",        "timer_stats", "dma",
    "mtrr",          "bootconfig",    "version_signature"};
constexpr const char* kMaskedDirs[] = {"acpi", "asound", "bus",      "driver", "dynamic_debug",
                                       "fs",   "irq",    "pressure", "scsi",   "tty"};

Result<void> make_dir(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) return sys_error(str("make ", path));
  return ok;
}

Result<void> make_file(const std::string& path, std::string_view content = {}) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444));
  if (!fd) return sys_error(str("make ", path));
  if (!content.empty() && ::write(fd.get(), content.data(), content.size()) < 0)
    return sys_error(str("write ", path));
  return ok;
}

Result<void> bring(const std::string& host_path, const std::string& place) {
  TRY_DO(make_dir(place));
  TRY(mount, clone_mount(AT_FDCWD, host_path));
  return attach_mount(mount.get(), AT_FDCWD, place);
}

// A device template: one tmpfs with real nodes, of which every box gets a read-only view. mknod
// inside stays refused.
Result<void> make_devices(const std::string& dev) {
  TRY_DO(make_dir(dev));
  TRY(fs, make_fs("tmpfs", "dev", {{"mode", "0755"}, {"size", "64k"}},
                  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  TRY_DO(attach_mount(fs.get(), AT_FDCWD, dev));
  ::mode_t before = ::umask(0);
  struct Node {
    const char* name;
    unsigned major, minor;
  };
  for (auto [node, major, minor] : {Node{"null", 1, 3}, Node{"zero", 1, 5}, Node{"full", 1, 7},
                                    Node{"random", 1, 8}, Node{"urandom", 1, 9}, Node{"tty", 5, 0}})
    if (::mknod(str(dev, "/", node).c_str(), S_IFCHR | 0666, ::makedev(major, minor)) < 0)
      return sys_error(str("make device ", node));
  ::umask(before);
  for (auto [link, target] : {std::pair{"fd", "/proc/self/fd"},
                              {"stdin", "/proc/self/fd/0"},
                              {"stdout", "/proc/self/fd/1"},
                              {"stderr", "/proc/self/fd/2"},
                              {"ptmx", "pts/ptmx"}})
    if (::symlink(target, (dev + "/" + link).c_str()) < 0)
      return sys_error(str("make link ", link));
  // glovebox: for programs of ours (sys/inside.h), in the one part of a box's root that no image
  // and no tenant has a say in.
  for (auto dir : {"pts", "shm", "mqueue", "glovebox"}) TRY_DO(make_dir(dev + "/" + dir));
  return ok;
}

Result<void> mask(const std::string& path, const std::string& with) {
  if (::access(path.c_str(), F_OK) < 0) return ok;
  TRY(cover, clone_mount(AT_FDCWD, with));
  TRY_DO(set_mount(cover.get(), kInert | MOUNT_ATTR_RDONLY));
  return attach_mount(cover.get(), AT_FDCWD, path);
}

constexpr char kRoot[] = "/stage/root";

std::string size_option(const BoxSize& size) {
  return str(size.memory_bytes / 4);
}  // of /dev/shm, which is memory

Result<std::vector<Fd>> stage_proc(const std::string& place, const BoxSize& size) {
  TRY(proc, make_fs("proc", "proc", {}, kInert));
  TRY_DO(attach_mount(proc.get(), AT_FDCWD, place));
  for (auto name : kMaskedFiles) TRY_DO(mask(str(place, "/", name), "/empty-file"), name);
  for (auto name : kMaskedDirs) TRY_DO(mask(str(place, "/", name), "/empty-dir"), name);
  TRY_DO(mask(place + "/sys", place + "/sys"), "read-only sys");
  // What must show the box's limits lies in a small file system of the box's own. The files stay
  // open here, for limits that are not the usual ones.
  TRY(facts, make_fs("tmpfs", "proc", {{"mode", "0755"}, {"size", "256k"}}, kInert));
  TRY_DO(attach_mount(facts.get(), AT_FDCWD, "/stage/facts"));
  std::vector<Fd> files;
  for (auto name : kFactNames) {
    std::string file = str("/stage/facts/", name);
    TRY_DO(make_file(file, fact(name, size.memory_bytes, size.cpus)));
    TRY_DO(mask(str(place, "/", name), file), name);
    files.emplace_back(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    if (!files.back()) return sys_error(str("open ", file));
  }
  return files;
}

Result<void> stage_dev(const std::string& place, uid_t base, const BoxSize& size) {
  TRY(dev, clone_mount(AT_FDCWD, "/dev"));
  TRY_DO(set_mount(dev.get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  TRY_DO(attach_mount(dev.get(), AT_FDCWD, place));
  std::string tty_group = str(base + 5);
  TRY(pts,
      make_fs("devpts", "devpts",
              {{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", tty_group}},
              MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  TRY_DO(attach_mount(pts.get(), AT_FDCWD, place + "/pts"));
  std::string root = str(base), shm_size = size_option(size);
  TRY(shm, make_fs("tmpfs", "shm",
                   {{"mode", "1777"}, {"size", shm_size}, {"uid", root}, {"gid", root}}, kPlain));
  return attach_mount(shm.get(), AT_FDCWD, place + "/shm");
}

// For a box whose limits are not the usual ones.
Result<void> resize(const StagedBox& box, const BoxSize& size) {
  for (std::size_t i = 0; i < box.facts.size(); ++i) {
    std::string text = fact(kFactNames[i], size.memory_bytes, size.cpus);
    if (::ftruncate(box.facts[i].get(), 0) < 0 ||
        ::pwrite(box.facts[i].get(), text.data(), text.size(), 0) < 0)
      return sys_error(str("write /proc/", kFactNames[i]));
  }
  std::string option = "size=" + size_option(size);
  if (::mount("shm", "/dev/shm", nullptr, MS_REMOUNT | MS_NOSUID | MS_NODEV, option.c_str()) < 0)
    return sys_error("size of /dev/shm");
  return ok;
}

// A mount of `path`, seen through the box's ids, at `place`: a layer must be attached somewhere
// (before Linux 6.15).
Result<void> layer(const std::string& path, const std::string& place, const Namespaces& namespaces,
                   std::uint64_t attributes) {
  TRY(mount, clone_mount(AT_FDCWD, path));
  TRY_DO(set_mount(mount.get(), attributes, namespaces.user.get()), "ids of ", path);
  return attach_mount(mount.get(), AT_FDCWD, place);
}

bool is_empty_directory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return false;
  // Larger than "." and ".." and the longest name: what is there comes with the first look.
  alignas(dirent64) char entries[2048];
  const ssize_t length = ::getdents64(fd.get(), entries, sizeof entries);
  if (length < 0) return false;
  for (ssize_t at = 0; at < length;) {
    const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return false;
    at += entry->d_reclen;
  }
  return true;
}

// Where the image has nothing, an overlay has nothing to do, and costs a part of every call: the
// upper's own directory is mounted over what the overlay shows of it. The files are the same, in
// the same place. It stays with the overlay where something else than a directory is there, made
// by a box that had no such mounts, and where the disk has no room for another directory.
Result<void> place_direct(const std::string& name) {
  const std::string lower = "/stage/lower/" + name, upper = "/stage/box/u/" + name;
  const std::string place = str(kRoot, "/", name);
  if (!is_empty_directory(lower)) return ok;
  struct stat info{};
  if (::lstat(upper.c_str(), &info) < 0) {
    // Changed to what it is, the overlay takes it up: with owner, mode, times and attributes.
    if (errno != ENOENT || ::lstat(lower.c_str(), &info) < 0 ||
        ::chmod(place.c_str(), info.st_mode & 07777) < 0 || ::lstat(upper.c_str(), &info) < 0)
      return ok;
  }
  if (!S_ISDIR(info.st_mode)) return ok;
  TRY(direct, clone_mount(AT_FDCWD, upper));
  return attach_mount(direct.get(), AT_FDCWD, place);
}

Result<void> drop_to_box_capabilities() {
  for (int cap = 0; ::prctl(PR_CAPBSET_READ, cap) >= 0; ++cap)
    if (std::find(std::begin(kCapabilities), std::end(kCapabilities), cap) ==
            std::end(kCapabilities) &&
        ::prctl(PR_CAPBSET_DROP, cap) < 0)
      return sys_error(str("drop capability ", cap));
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (int cap : kCapabilities) {
    auto& half = data[cap / 32];
    half.permitted |= 1u << (cap % 32);
    half.effective |= 1u << (cap % 32);
  }
  if (::syscall(SYS_capset, &header, data) < 0) return sys_error("set capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return sys_error("no_new_privs");
  return ok;
}

}  // namespace

Result<void> enter_launcher_root(const LauncherMounts& mounts) {
  if (::unshare(CLONE_NEWNS) < 0) return sys_error("own mount namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0)
    return sys_error("make mounts private");
  // A detached tree cannot be built upon before Linux 6.15, so the new root stands somewhere while
  // it is filled.
  const std::string root = mounts.state_dir + "/launcher";
  TRY_DO(make_dir(root));
  TRY(fs, make_fs("tmpfs", "masked", {{"mode", "0755"}, {"size", "1m"}}, kPlain));
  TRY_DO(attach_mount(fs.get(), AT_FDCWD, root));
  TRY_DO(bring("/proc", root + "/proc"));
  TRY_DO(bring("/usr", root + "/usr"));
  TRY_DO(bring(mounts.state_dir, root + "/state"));
  // Mounted in it, or a part of it: a copy of a mount does not have what is mounted below.
  TRY_DO(bring(mounts.state_dir + "/pool", root + "/state/pool"));
  TRY_DO(make_dir(root + "/cg"));
  for (auto [name, path] : {std::pair{"unified", &mounts.unified},
                            {"memory", &mounts.memory},
                            {"pids", &mounts.pids},
                            {"cpu", &mounts.cpu}})
    if (!path->empty()) TRY_DO(bring(*path, str(root, "/cg/", name)));
  TRY_DO(make_devices(root + "/dev"));
  TRY_DO(make_file(root + "/empty-file"));
  TRY_DO(make_dir(root + "/empty-dir"));
  TRY_DO(make_dir(root + "/stage"));
  for (auto dir : {"root", "facts", "lower", "box"}) TRY_DO(make_dir(str(root, "/stage/", dir)));
  TRY_DO(make_dir(root + "/views"));
  return pivot_to(root);
}

Result<void> make_usr_view(const std::string& mask, const std::string& place) {
  TRY_DO(make_dir(place));
  TRY(view, make_overlay(mask + ":/usr", "", "", 0, kPlain | MOUNT_ATTR_RDONLY));
  return attach_mount(view.get(), AT_FDCWD, place);
}

Result<StagedBox> stage_box(const StagePlan& plan, const Namespaces& namespaces) {
  TRY_DO(layer(plan.image_root, "/stage/lower", namespaces, kPlain | MOUNT_ATTR_RDONLY));
  TRY_DO(layer(plan.box_dir, "/stage/box", namespaces, kFiles));
  TRY(root, make_overlay("/stage/lower", "/stage/box/u", "/stage/box/w", plan.base, kFiles));
  TRY_DO(attach_mount(root.get(), AT_FDCWD, kRoot));
  for (auto name : kDirectDirectories) TRY_DO(place_direct(name), name);
  StagedBox box{plan.size, {}};
  TRY(facts, stage_proc(str(kRoot, "/proc"), plan.size), "proc");
  box.facts = std::move(facts);
  TRY_DO(stage_dev(str(kRoot, "/dev"), plan.base, plan.size), "dev");
  if (!plan.usr_view.empty()) {
    TRY(usr, clone_mount(AT_FDCWD, plan.usr_view));
    TRY_DO(attach_mount(usr.get(), AT_FDCWD, str(kRoot, "/usr")));
  }
  // Neither a core file nor the host's handler for one: a limit of 1 is the kernel's word for "not
  // even through a pipe".
  rlimit core{1, 1};
  if (::setrlimit(RLIMIT_CORE, &core) < 0) return sys_error("limit of core files");
  TRY_DO(pivot_to(kRoot));
  return box;
}

static Result<void> become_root() {
  // The raw calls: the library's would look for other threads to change.
  if (::syscall(SYS_setresgid, 0, 0, 0) < 0 || ::syscall(SYS_setgroups, 0, nullptr) < 0 ||
      ::syscall(SYS_setresuid, 0, 0, 0) < 0)
    return sys_error("become root of the box");
  TRY_DO(drop_to_box_capabilities());
  if (::prctl(PR_SET_DUMPABLE, 0) < 0) return sys_error("not dumpable");
  return ok;
}

Result<void> follow_into_box(const Namespaces& namespaces) {
  TRY_DO(enter(namespaces));
  return become_root();
}

Result<void> enter_box(StagedBox box, const BoxSize& size, const std::string& hostname,
                       const Namespaces& namespaces) {
  if (size != box.size) TRY_DO(resize(box, size));
  TRY_DO(enter(namespaces));
  if (::sethostname(hostname.data(), hostname.size()) < 0) return sys_error("host name");
  return become_root();
}

}  // namespace glovebox::sys

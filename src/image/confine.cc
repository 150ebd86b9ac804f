#include "image/confine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "sys/call_filter.h"
#include "sys/mount.h"
#include "sys/namespaces.h"

namespace glovebox::image {

namespace {

constexpr rlim_t kMemory = 1 << 30;  // names of a large layer, and the largest window of xz
constexpr rlim_t kOpenFiles = 64;

// What filling a tree takes, over files that others will own.
constexpr int kCapabilities[] = {
    CAP_CHOWN,         // owners as the archive has them
    CAP_DAC_OVERRIDE,  // into directories their owners closed
    CAP_FOWNER,        // modes and times of what was given away
    CAP_FSETID,        // set-id bits stay
};

constexpr int kCalls[] = {
    SYS_read,
    SYS_pread64,
    SYS_write,
    SYS_pwrite64,
    SYS_lseek,
    SYS_ftruncate,  // contents
    SYS_openat,
    SYS_openat2,
    SYS_close,
    SYS_fcntl,
    SYS_getdents64,  // finding
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_fstatfs,
    SYS_readlinkat,  // looking
    SYS_mkdirat,
    SYS_mknodat,
    SYS_symlinkat,
    SYS_linkat,  // making
    SYS_unlinkat,
    SYS_renameat2,  // taking away
    SYS_fchown,
    SYS_fchownat,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_utimensat,
    SYS_fsetxattr,
    SYS_fgetxattr,
    SYS_flistxattr,  // marking
    SYS_ioctl,       // flags of files that will not be removed
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,  // memory; mmap and
                  // mprotect are below
    SYS_getrandom,
    SYS_clock_gettime,
    SYS_gettimeofday,  // the libraries
    SYS_futex,
    SYS_rt_sigreturn,
    SYS_restart_syscall,  // likewise
    SYS_exit,
    SYS_exit_group,
};

Result<void> limit(decltype(RLIMIT_AS) what, rlim_t to) {
  if (!sys::limit_to(what, to)) return sys_error("set a limit");
  return ok;
}

Result<void> install_filter() {
  sys::CallFilter filter;
  for (int call : kCalls) filter.allow(call);
  for (int call : {SYS_mmap, SYS_mprotect}) filter.allow_data(call);
  if (!filter.install()) return sys_error("seccomp");
  return ok;
}

Result<void> give_up_privileges() {
  if (::syscall(SYS_setresgid, 0, 0, 0) < 0 || ::syscall(SYS_setgroups, 0, nullptr) < 0 ||
      ::syscall(SYS_setresuid, 0, 0, 0) < 0)
    return sys_error("become root of the tree");
  auto kept = [](int cap) {
    return std::find(std::begin(kCapabilities), std::end(kCapabilities), cap) !=
           std::end(kCapabilities);
  };
  for (int cap = 0; ::prctl(PR_CAPBSET_READ, cap) >= 0; ++cap)
    if (!kept(cap) && ::prctl(PR_CAPBSET_DROP, cap) < 0) return sys_error("drop a capability");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  for (int cap : kCapabilities) {
    data[cap / 32].permitted |= 1u << (cap % 32);
    data[cap / 32].effective |= 1u << (cap % 32);
  }
  if (::syscall(SYS_capset, &header, data) < 0) return sys_error("set capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || ::prctl(PR_SET_DUMPABLE, 0) < 0)
    return sys_error("no new privileges");
  return ok;
}

// A copy of the mount `path` is on, from there on, seen through the ids of `namespaces`.
Result<Fd> seen_through(const std::string& path, std::uint64_t attributes,
                        const sys::Namespaces& namespaces) {
  TRY(mount, sys::clone_mount(AT_FDCWD, path));
  TRY_DO(sys::set_mount(mount.get(),
                        attributes | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
                        namespaces.user.get()),
         "ids of ", path);
  return mount;
}

Result<Fd> place(Fd mount, const std::string& at) {
  if (::mkdir(at.c_str(), 0755) < 0) return sys_error(str("make ", at));
  TRY_DO(sys::attach_mount(mount.get(), AT_FDCWD, at));
  Fd fd(::open(at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return sys_error(str("open ", at));
  return fd;
}

}  // namespace

namespace {

struct Plan {
  uid_t base = 0;
  std::string tree, source, lower;
};

// The new root needs a place to stand on while it is made; nobody else sees it there.
Result<void> make_root(const std::string& at) {
  TRY(fs, sys::make_fs("tmpfs", "tree", {{"mode", "0755"}, {"size", "64k"}},
                       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  return sys::attach_mount(fs.get(), AT_FDCWD, at);
}

Result<Fd> place_overlay(Fd lower, Fd layer, uid_t base) {
  TRY(below, place(std::move(lower), "/lower"));
  TRY(own, place(std::move(layer), "/layer"));
  TRY(mount, sys::make_overlay("/lower", "/layer/u", "/layer/w", base,
                               MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  return place(std::move(mount), "/tree");
}

Result<Trees> confine(const Plan& plan) {
  TRY(namespaces, sys::make_namespaces(plan.base));
  if (::unshare(CLONE_NEWNS) < 0) return sys_error("own mount namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0)
    return sys_error("make mounts private");
  Fd tree, source, lower;
  for (auto [path, mount, attributes] :
       {std::tuple{&plan.tree, &tree, 0ull},
        {&plan.source, &source, static_cast<unsigned long long>(MOUNT_ATTR_RDONLY)},
        {&plan.lower, &lower, static_cast<unsigned long long>(MOUNT_ATTR_RDONLY)}}) {
    if (path->empty()) continue;
    TRY(made, seen_through(*path, attributes, namespaces));
    *mount = std::move(made);
  }
  const std::string& root = plan.tree.empty() ? plan.source : plan.tree;
  TRY_DO(make_root(root));
  TRY_DO(sys::pivot_to(root));
  Trees trees;
  if (tree) {
    auto fd = lower ? place_overlay(std::move(lower), std::move(tree), plan.base)
                    : place(std::move(tree), "/tree");
    if (!fd) return std::move(fd.error());
    trees.tree = std::move(*fd);
  }
  if (source) {
    TRY(fd, place(std::move(source), "/source"));
    trees.source = std::move(fd);
  }
  TRY_DO(sys::enter(namespaces));
  TRY_DO(give_up_privileges());
  ::umask(0);
  if (sys::kSanitized) return trees;
  TRY_DO(limit(RLIMIT_AS, kMemory));
  if (!sys::no_core_files()) return sys_error("no core files");
  TRY_DO(limit(RLIMIT_NOFILE, kOpenFiles));
  TRY_DO(install_filter());
  return trees;
}

}  // namespace

Result<Trees> confine(uid_t base, const std::string& tree, const std::string& source) {
  return confine(Plan{base, tree, source, ""});
}

Result<Trees> confine_over(uid_t base, const std::string& lower, const std::string& layer,
                           const std::string& source) {
  return confine(Plan{base, layer, source, lower});
}

}  // namespace glovebox::image

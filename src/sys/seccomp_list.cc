// The tables behind the tenant's filter. To allow a call, say here why a hostile program may make
// it.
#include <span>
#include <vector>

#include "sys/seccomp.h"

namespace glovebox::sys {

namespace {

struct Group {
  const char* reason;
  std::vector<const char*> calls;
};

std::vector<FilterRule> flatten(const std::vector<Group>& groups) {
  std::vector<FilterRule> rules;
  for (const Group& group : groups)
    for (const char* call : group.calls) rules.push_back({call, group.reason});
  return rules;
}

const std::vector<Group>& allowed() {
  static const std::vector<Group> groups{
      {"read and write what is open; bounded by descriptors the box was given or opened itself",
       {"read",         "write",           "readv",     "writev",
        "pread64",      "pwrite64",        "preadv",    "pwritev",
        "preadv2",      "pwritev2",        "lseek",     "_llseek",
        "close",        "close_range",     "dup",       "dup2",
        "dup3",         "fcntl",           "fcntl64",   "fsync",
        "fdatasync",    "sync_file_range", "readahead", "fadvise64",
        "fadvise64_64", "flock",           "ftruncate", "ftruncate64",
        "fallocate"}},
      {"open and look at files; the mount namespace holds only the box's",
       {"open",       "openat",    "openat2",    "creat",   "stat",      "fstat",      "lstat",
        "newfstatat", "fstatat64", "stat64",     "fstat64", "lstat64",   "statx",      "statfs",
        "fstatfs",    "statfs64",  "fstatfs64",  "access",  "faccessat", "faccessat2", "readlink",
        "readlinkat", "getdents",  "getdents64", "getcwd",  "chdir",     "fchdir",     "umask"}},
      {"change files; permission is the file system's matter and ids are the box's own range",
       {"mkdir",      "mkdirat",   "rmdir",    "unlink",    "unlinkat", "rename",
        "renameat",   "renameat2", "link",     "linkat",    "symlink",  "symlinkat",
        "chmod",      "fchmod",    "fchmodat", "fchmodat2", "chown",    "fchown",
        "lchown",     "fchownat",  "chown32",  "fchown32",  "lchown32", "truncate",
        "truncate64", "utime",     "utimes",   "futimesat", "utimensat"}},
      {"pipes and sockets as files; the kernel refuses device nodes outside the first user "
       "namespace",
       {"mknod", "mknodat"}},
      {"attributes of files; security.* and trusted.* ask for rights on the host",
       {"setxattr", "lsetxattr", "fsetxattr", "getxattr", "lgetxattr", "fgetxattr", "listxattr",
        "llistxattr", "flistxattr", "removexattr", "lremovexattr", "fremovexattr"}},
      {"move bytes inside the kernel between the box's own descriptors",
       {"sendfile", "sendfile64", "splice", "tee"}},
      {"flush; slow at worst, and each box has a file system of its own", {"sync", "syncfs"}},
      {"package managers and tests enter a root of their own; the directory tree does not grow by "
       "it",
       {"chroot"}},
      {"memory of the caller, bounded by the memory group and rlimits",
       {"mmap",
        "mmap2",
        "munmap",
        "mremap",
        "mprotect",
        "madvise",
        "brk",
        "msync",
        "mincore",
        "mlock",
        "mlock2",
        "mlockall",
        "munlock",
        "munlockall",
        "remap_file_pages",
        "memfd_create",
        "pkey_alloc",
        "pkey_free",
        "pkey_mprotect",
        "mseal",
        "process_madvise",
        "process_mrelease",
        "map_shadow_stack"}},
      {"placement of the caller's own memory, asked for by numeric libraries and allocators",
       {"mbind", "set_mempolicy", "get_mempolicy", "set_mempolicy_home_node"}},
      {"start, become and end programs; no_new_privs holds across all of them",
       {"fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "waitpid"}},
      {"name processes and groups of this pid namespace",
       {"getpid", "getppid", "gettid", "getpgid", "getpgrp", "setpgid", "getsid", "setsid",
        "pidfd_open"}},
      {"signals reach only this pid namespace",
       {"kill",
        "tkill",
        "tgkill",
        "pidfd_send_signal",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigpending",
        "rt_sigqueueinfo",
        "rt_tgsigqueueinfo",
        "rt_sigreturn",
        "rt_sigsuspend",
        "rt_sigtimedwait",
        "sigaltstack",
        "signalfd",
        "signalfd4",
        "pause",
        "alarm",
        "restart_syscall",
        "sigaction",
        "sigprocmask",
        "sigpending",
        "sigreturn",
        "sigsuspend",
        "signal"}},
      {"ids of the box's own range; package managers and daemons change them",
       {"getuid",     "getgid",     "geteuid",     "getegid",     "getresuid",   "getresgid",
        "getgroups",  "setuid",     "setgid",      "setreuid",    "setregid",    "setresuid",
        "setresgid",  "setgroups",  "setfsuid",    "setfsgid",    "getuid32",    "getgid32",
        "geteuid32",  "getegid32",  "getresuid32", "getresgid32", "getgroups32", "setuid32",
        "setgid32",   "setreuid32", "setregid32",  "setresuid32", "setresgid32", "setgroups32",
        "setfsuid32", "setfsgid32"}},
      {"capabilities inside the box's user namespace; the bounding set is the ceiling",
       {"capget", "capset"}},
      {"settings of the caller alone; those with weight ask for capabilities on the host",
       {"prctl", "arch_prctl", "set_tid_address", "set_thread_area", "get_thread_area",
        "set_robust_list", "get_robust_list", "rseq", "membarrier", "getcpu"}},
      {"a program may lock itself up further",
       {"seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}},
      {"debuggers: ptrace reaches processes of the same user and namespaces, never the hand, which "
       "is not dumpable",
       {"ptrace", "process_vm_readv"}},
      {"wait for each other and for descriptors",
       {"futex",           "futex_time64",  "futex_waitv",    "futex_wake",
        "futex_wait",      "futex_requeue", "poll",           "ppoll",
        "ppoll_time64",    "select",        "_newselect",     "pselect6",
        "pselect6_time64", "epoll_create",  "epoll_create1",  "epoll_ctl",
        "epoll_ctl_old",   "epoll_wait",    "epoll_wait_old", "epoll_pwait",
        "epoll_pwait2",    "eventfd",       "eventfd2",       "pipe",
        "pipe2",           "inotify_init",  "inotify_init1",  "inotify_add_watch",
        "inotify_rm_watch"}},
      {"read clocks, sleep, set timers of the caller",
       {"time",
        "gettimeofday",
        "clock_gettime",
        "clock_gettime64",
        "clock_getres",
        "clock_getres_time64",
        "nanosleep",
        "clock_nanosleep",
        "clock_nanosleep_time64",
        "times",
        "getitimer",
        "setitimer",
        "timer_create",
        "timer_delete",
        "timer_getoverrun",
        "timer_gettime",
        "timer_settime",
        "timer_gettime64",
        "timer_settime64",
        "timerfd_create",
        "timerfd_gettime",
        "timerfd_settime",
        "timerfd_gettime64",
        "timerfd_settime64"}},
      {"scheduling of the box's own processes; real time and a higher priority ask for rights on "
       "the host",
       {"sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_setparam",
        "sched_getscheduler", "sched_setscheduler", "sched_getattr", "sched_setattr",
        "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval",
        "sched_rr_get_interval_time64", "getpriority", "setpriority", "ioprio_get", "ioprio_set"}},
      {"limits and use; a hard limit cannot be raised inside",
       {"getrlimit", "ugetrlimit", "getrusage", "sysinfo", "uname"}},
      {"the host name of the box's own uts namespace", {"sethostname", "setdomainname"}},
      {"randomness", {"getrandom"}},
      {"use sockets; which families may be made is judged at socket()",
       {"bind", "connect", "listen", "accept", "accept4", "getsockname", "getpeername",
        "getsockopt", "setsockopt", "shutdown", "send", "sendto", "sendmsg", "sendmmsg", "recv",
        "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64"}},
      {"System V and POSIX message passing in the box's own ipc namespace",
       {"shmget",          "shmat",
        "shmdt",           "shmctl",
        "semget",          "semop",
        "semtimedop",      "semtimedop_time64",
        "semctl",          "msgget",
        "msgsnd",          "msgrcv",
        "msgctl",          "ipc",
        "mq_open",         "mq_unlink",
        "mq_timedsend",    "mq_timedsend_time64",
        "mq_timedreceive", "mq_timedreceive_time64",
        "mq_notify",       "mq_getsetattr"}},
  };
  return groups;
}

const std::vector<Group>& denied() {
  static const std::vector<Group> groups{
      {"only the engine mounts",
       {"mount", "umount", "umount2", "pivot_root", "fsopen", "fsconfig", "fsmount", "fspick",
        "open_tree", "move_mount", "mount_setattr"}},
      {"no way into other namespaces", {"setns"}},
      {"handles open files by number, past every directory check",
       {"open_by_handle_at", "name_to_handle_at"}},
      {"kernel code: modules, programs, another kernel",
       {"init_module", "finit_module", "delete_module", "create_module", "query_module",
        "get_kernel_syms", "bpf", "kexec_load", "kexec_file_load", "reboot"}},
      {"a history of holes, and no need the box has",
       {"io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "perf_event_open",
        "vmsplice", "modify_ldt", "uselib", "ustat", "sysfs", "_sysctl", "nfsservctl",
        "lookup_dcookie", "vm86", "vm86old"}},
      {"keyrings are shared by user across namespaces", {"add_key", "request_key", "keyctl"}},
      {"takes a descriptor or memory from another process; a second lock before the hand",
       {"pidfd_getfd", "process_vm_writev", "kcmp"}},
      {"fs.aio-max-nr is one count for the machine: a box could take it all",
       {"io_setup", "io_submit", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents"}},
      {"physical placement of pages, others' too", {"move_pages", "migrate_pages"}},
      {"the machine's clock",
       {"settimeofday", "stime", "clock_settime", "clock_settime64", "adjtimex", "clock_adjtime",
        "clock_adjtime64"}},
      {"the machine's disks, log and terminals",
       {"swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "syslog", "vhangup"}},
      {"ports of the hardware", {"iopl", "ioperm"}},
      {"whole-mount watching asks for rights on the host", {"fanotify_init", "fanotify_mark"}},
      {"memory even the host cannot read, reclaim or freeze to disk", {"memfd_secret"}},
  };
  return groups;
}

constexpr FilterRule kArguments[] = {
    {"clone",
     "CLONE_NEW*: no nested namespaces, above all no user namespace and the kernel it opens; "
     "EPERM"},
    {"clone3",
     "its flags sit in memory, where a filter cannot look: ENOSYS, and libraries use clone"},
    {"unshare", "CLONE_NEW*, as for clone; EPERM"},
    {"socket",
     "all but unix, inet and inet6 with tcp, udp and ping, and netlink's route family: other "
     "families load modules "
     "on demand; EAFNOSUPPORT, EPROTONOSUPPORT"},
    {"socketpair", "all but unix; EAFNOSUPPORT"},
    {"personality",
     "all but the plain one, no address randomization (debuggers) and asking: old ones weaken "
     "memory; EPERM"},
    {"ioctl",
     "TIOCSTI and TIOCLINUX type into somebody else's terminal, TIOCSETD loads line disciplines: "
     "EPERM; clones of bytes cost no quota: EOPNOTSUPP; all else of btrfs: ENOTTY"},
    {"copy_file_range",
     "clones bytes, as the ioctl does; EXDEV, and programs read and write: not all know ENOSYS"},
    {"setrlimit",
     "core files: their limit keeps the host's crash handler from being run; nothing is done, "
     "and no error told"},
    {"prlimit64", "as setrlimit; asking is allowed"},
};

}  // namespace

std::span<const FilterRule> tenant_allow_list() {
  static const std::vector<FilterRule> rules = flatten(allowed());
  return rules;
}

std::span<const FilterRule> tenant_deny_list() {
  static const std::vector<FilterRule> rules = flatten(denied());
  return rules;
}

std::span<const FilterRule> tenant_argument_list() { return kArguments; }

}  // namespace glovebox::sys

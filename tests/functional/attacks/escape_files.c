// Part A, 1 to 13: descriptors, the runtime, mounts, namespaces, devices, control groups, settings.
#include "escape.h"

static char* a1_descriptors(void) {
  char found[512] = "";
  for (int fd = 3; fd < 4096; fd++) {
    char path[64], link[256] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fcntl(fd, F_GETFD) < 0) continue;
    ssize_t n = readlink(path, link, sizeof link - 1);
    snprintf(found + strlen(found), sizeof found - strlen(found), " %d→%.*s", fd,
             (int)(n < 0 ? 0 : n), link);
  }
  return found[0] ? say("ALLOWED: descriptors%s", found) : say("contained: only 0, 1 and 2");
}
static char* a1_climb(void) {
  struct stat before = root_stat(), up;
  for (int fd = -1; fd < 3; fd++) {
    int at = openat(fd < 0 ? AT_FDCWD : fd, "../../../../../../../../../../../../..",
                    O_RDONLY | O_DIRECTORY);
    if (at < 0) continue;
    if (fstat(at, &up) || up.st_ino != before.st_ino || up.st_dev != before.st_dev)
      return say("ALLOWED: descriptor %d climbs out", fd);
  }
  char cwd[4096];
  if (syscall(SYS_getcwd, cwd, sizeof cwd) < 0 || cwd[0] != '/')
    return say("ALLOWED: the working directory is outside (%s)", cwd);
  return say("contained: everything ends at the box's own root");
}
static char* a2_runtime(void) {
  static const char* const paths[] = {"/proc/1/exe", "/proc/1/root/proc/self/exe", NULL};
  char* outcome = NULL;
  for (const char* const* p = paths; *p; p++) {
    int fd = open(*p, O_WRONLY);
    if (fd >= 0) return say("ALLOWED: %s opened for writing", *p);
    outcome = say("denied: %s", errno_word(errno));
    fd = open(*p, O_PATH);
    if (fd >= 0) {
      char again[64];
      snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
      if (open(again, O_WRONLY | O_TRUNC) >= 0) return say("ALLOWED: %s through O_PATH", *p);
    }
  }
  return outcome;
}
static char* a2_interpreter(
    void) {  // CVE-2019-5736: make the runtime execute itself, and write to it meanwhile
  int fd = open("/tmp/self-interpreter", O_CREAT | O_WRONLY | O_TRUNC, 0755);
  if (fd < 0 || write(fd, "#!/proc/self/exe\n", 17) != 17)
    return say("contained: cannot be written");
  close(fd);
  pid_t child = fork();
  if (!child) {
    execl("/tmp/self-interpreter", "x", NULL);
    _exit(100);
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/exe", child);
  int out = open(path, O_WRONLY), e = errno;
  int status;
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  unlink("/tmp/self-interpreter");
  if (out >= 0) return say("contained: our own program's file, nothing of the runtime's");
  return say("denied: %s", errno_word(e));
}
static char* a4_replace_dev(void) {
  static const char* const names[] = {"/dev/null", "/dev/zero", "/dev/console",
                                      "/dev/ptmx", "/dev/fd",   NULL};
  char* outcome = NULL;
  for (const char* const* n = names; *n; n++) {
    if (rename(*n, "/dev/was") == 0 || unlink(*n) == 0) return say("ALLOWED: %s replaced", *n);
    outcome = say("denied: %s", errno_word(errno));
  }
  if (symlink("/etc/passwd", "/dev/link") == 0) return say("ALLOWED: made a link in /dev");
  return outcome;
}
static char* a5_bind_proc(void) {
  return judge(mount("/tmp", "/proc/self/attr", NULL, MS_BIND, NULL));
}
static char* a5_bind_sys(void) {
  return judge(mount("/proc/sys", "/tmp", NULL, MS_BIND | MS_REC, NULL));
}
static char* a5_new_proc(void) { return judge(mount("proc", "/tmp", "proc", 0, NULL)); }
static char* a5_remount(void) {
  return judge(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
}
static char* a5_attr(void) {
  static const char* const paths[] = {"/proc/self/attr/current", "/proc/self/attr/exec",
                                      "/proc/self/attr/fscreate", "/proc/self/attr/apparmor/exec",
                                      NULL};
  char* outcome = say("contained: no such file");
  for (const char* const* p = paths; *p; p++) {
    int fd = open(*p, O_WRONLY);
    if (fd < 0)
      outcome = say("denied: %s", errno_word(errno));
    else if (write(fd, "unconfined", 10) > 0)
      return say("ALLOWED: wrote %s", *p);
    else
      outcome = say("denied: %s at write", errno_word(errno));
  }
  return outcome;
}
static char* a6_chroot(void) {
  struct stat before = root_stat();
  int fd = open("/", O_RDONLY | O_DIRECTORY);
  mkdir("/tmp/jail", 0755);
  if (chroot("/tmp/jail")) return say("denied: %s", errno_word(errno));
  if (fchdir(fd)) return say("denied: fchdir %s", errno_word(errno));
  for (int i = 0; i < 256; i++)
    if (chdir("..")) break;
  if (chroot(".")) return say("denied: %s", errno_word(errno));
  return same_root(before, "chroot and fchdir");
}
static char* a6_pivot(void) {
  mkdir("/tmp/new", 0755);
  mkdir("/tmp/new/old", 0755);
  return judge(syscall(SYS_pivot_root, "/tmp/new", "/tmp/new/old"));
}
static char* a6_move(void) { return judge(mount("/proc", "/tmp", NULL, MS_MOVE, NULL)); }
static char* a6_umount_proc(void) { return judge(umount2("/proc", MNT_DETACH)); }
static char* a6_umount_dev(void) { return judge(umount2("/dev", MNT_DETACH)); }
static char* a6_umount_root(void) { return judge(umount2("/", MNT_DETACH)); }
static char* a6_remount_root(void) { return judge(mount(NULL, "/", NULL, MS_REMOUNT, NULL)); }
static char* a6_remount_usr(void) {
  return judge(mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL));
}
static char* a6_new_mount_api(void) {
  int fs = syscall(SYS_fsopen, "tmpfs", 0);
  if (fs >= 0) return say("ALLOWED: fsopen");
  int e = errno;
  if (syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */) >= 0)
    return say("ALLOWED: open_tree");
  struct {
    uint64_t set, clear, propagation, userns;
  } attributes = {0, 1, 0, 0};
  if (syscall(SYS_mount_setattr, AT_FDCWD, "/usr", 0, &attributes, sizeof attributes) == 0)
    return say("ALLOWED: mount_setattr");
  if (syscall(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0) == 0)
    return say("ALLOWED: move_mount");
  return say("denied: %s", errno_word(e));
}
static char* a7_unshare_user(void) { return judge(unshare(CLONE_NEWUSER)); }
static char* a7_unshare_mount(void) { return judge(unshare(CLONE_NEWNS)); }
static char* a7_unshare_net(void) { return judge(unshare(CLONE_NEWNET)); }
static char* a7_clone_user(void) {
  long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) _exit(0);
  return judge(pid);
}
static char* a7_clone3_user(void) {
  uint64_t args[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
  long pid = syscall(SYS_clone3, args, sizeof args);
  if (pid == 0) _exit(0);
  return judge(pid);
}
static char* a7_overlay(void) {
  unshare(CLONE_NEWUSER | CLONE_NEWNS);
  mkdir("/tmp/u", 0755), mkdir("/tmp/w", 0755), mkdir("/tmp/m", 0755);
  return judge(
      mount("overlay", "/tmp/m", "overlay", 0, "lowerdir=/usr,upperdir=/tmp/u,workdir=/tmp/w"));
}
static char* a8_setns(void) {
  static const char* const kinds[] = {"mnt", "net",    "pid",  "user", "ipc",
                                      "uts", "cgroup", "time", NULL};
  char* outcome = say("denied: ENOENT");
  for (const char* const* k = kinds; *k; k++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/1/ns/%s", *k);
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
      outcome = say("denied: %s", errno_word(errno));
      continue;
    }
    if (setns(fd, 0) == 0) return say("ALLOWED: setns %s", path);
    outcome = say("denied: %s at setns", errno_word(errno));
  }
  int pidfd = syscall(SYS_pidfd_open, 1, 0);
  if (pidfd >= 0 && setns(pidfd, CLONE_NEWNS | CLONE_NEWPID) == 0)
    return say("ALLOWED: setns by pidfd");
  return outcome;
}
static char* a9_mknod(void) {
  if (mknod("/tmp/disk", S_IFBLK | 0666, makedev(254, 0)) == 0) {
    char* outcome = open_for("/tmp/disk", O_RDONLY);
    unlink("/tmp/disk");
    return strncmp(outcome, "denied", 6) ? outcome
                                         : say("contained: made, and cannot be opened (nodev)");
  }
  int e = errno;
  if (mknod("/tmp/mem", S_IFCHR | 0666, makedev(1, 1)) == 0) return open_for("/tmp/mem", O_RDONLY);
  return say("denied: %s", errno_word(e));
}
static char* attempt_read(const char* path) { return open_for(path, O_RDONLY); }
static char* a9_devices(void) {
  static const char* const paths[] = {"/dev/sda",
                                      "/dev/vda",
                                      "/dev/nvme0n1",
                                      "/dev/mem",
                                      "/dev/port",
                                      "/dev/kmsg",
                                      "/dev/kvm",
                                      "/dev/fuse",
                                      "/dev/net/tun",
                                      "/dev/loop-control",
                                      "/dev/loop0",
                                      "/dev/vhost-net",
                                      "/dev/vsock",
                                      "/dev/rtc0",
                                      "/dev/uinput",
                                      "/dev/tty0",
                                      "/dev/tty1",
                                      "/dev/ttyS0",
                                      "/dev/console",
                                      "/dev/btrfs-control",
                                      "/dev/mapper/control",
                                      "/dev/cuse",
                                      "/dev/snapshot",
                                      "/dev/userfaultfd",
                                      NULL};
  return each(attempt_read, paths);
}
static char* a10_handle(void) {
  struct {
    unsigned bytes;
    int type;
    unsigned char data[8];
  } handle = {8, 1, {2, 0, 0, 0, 0, 0, 0, 0}};
  for (unsigned inode = 1; inode < 4096; inode++) {
    memcpy(handle.data, &inode, 4);
    int mount_fd = open("/", O_RDONLY | O_DIRECTORY);
    int fd = syscall(SYS_open_by_handle_at, mount_fd, &handle, O_RDONLY);
    close(mount_fd);
    if (fd >= 0) return say("ALLOWED: handle of inode %u opened", inode);
    if (errno == EPERM || errno == ENOSYS) return say("denied: %s", errno_word(errno));
  }
  return say("denied: %s", errno_word(errno));
}
static char* a10_name_to_handle(void) {
  struct {
    unsigned bytes;
    int type;
    unsigned char data[128];
  } handle = {128};
  int mount_id;
  return judge(syscall(SYS_name_to_handle_at, AT_FDCWD, "/etc/passwd", &handle, &mount_id, 0));
}
static char* a11_mount_cgroup(void) {
  if (mount("cgroup", "/tmp", "cgroup", 0, "memory") == 0 ||
      mount("cgroup2", "/tmp", "cgroup2", 0, NULL) == 0)
    return say("ALLOWED");
  return say("denied: %s", errno_word(errno));
}
static char* a11_cgroup_files(void) {
  static const char* const paths[] = {"/sys/fs/cgroup/cgroup.procs",
                                      "/sys/fs/cgroup/memory.max",
                                      "/sys/fs/cgroup/release_agent",
                                      "/sys/fs/cgroup/memory/release_agent",
                                      "/sys/fs/cgroup/memory/cgroup.procs",
                                      "/sys/fs/cgroup/unified/cgroup.procs",
                                      "/sys/fs/cgroup/pids/pids.max",
                                      "/sys/fs/cgroup/systemd/release_agent",
                                      NULL};
  return each(write_back, paths);
}
static char* a12_sysctl(void) {
  static const char* const paths[] = {"/proc/sys/kernel/core_pattern",
                                      "/proc/sys/kernel/modprobe",
                                      "/proc/sys/kernel/hotplug",
                                      "/proc/sys/kernel/poweroff_cmd",
                                      "/proc/sys/kernel/panic",
                                      "/proc/sys/vm/overcommit_memory",
                                      "/proc/sys/vm/drop_caches",
                                      "/proc/sys/fs/file-max",
                                      "/proc/sys/kernel/printk",
                                      "/proc/sys/kernel/randomize_va_space",
                                      "/proc/sys/fs/binfmt_misc/register",
                                      "/proc/sys/kernel/yama/ptrace_scope",
                                      "/sys/kernel/uevent_helper",
                                      "/proc/sys/kernel/domainname",
                                      "/proc/sys/kernel/pid_max",
                                      "/proc/sys/kernel/ns_last_pid",
                                      NULL};
  return each(write_back, paths);
}
static char* a12_binfmt(void) {
  return judge(mount("binfmt_misc", "/tmp", "binfmt_misc", 0, NULL));
}
static char* a13_firmware(void) {
  static const char* const paths[] = {"/proc/sysrq-trigger",
                                      "/sys/power/state",
                                      "/sys/power/disk",
                                      "/sys/kernel/mm/ksm/run",
                                      "/sys/devices/system/cpu/cpu1/online",
                                      "/sys/block/vda/queue/scheduler",
                                      "/proc/mtrr",
                                      "/proc/scsi/scsi",
                                      "/proc/acpi/wakeup",
                                      "/sys/module/kernel/parameters/panic",
                                      "/proc/irq/default_smp_affinity",
                                      NULL};
  for (const char* const* p = paths; *p; p++) {
    int fd = open(*p, O_WRONLY);  // opened only: what is written there would take effect
    if (fd >= 0) return say("ALLOWED: %s opened for writing", *p);
  }
  DIR* efi = opendir("/sys/firmware/efi/efivars");
  if (efi) return say("ALLOWED: efivars are there");
  return say("denied: %s", errno_word(errno));
}
static char* a13_debugfs(void) {
  if (mount("debugfs", "/tmp", "debugfs", 0, NULL) == 0 ||
      mount("tracefs", "/tmp", "tracefs", 0, NULL) == 0 ||
      mount("securityfs", "/tmp", "securityfs", 0, NULL) == 0 ||
      mount("sysfs", "/tmp", "sysfs", 0, NULL) == 0)
    return say("ALLOWED: a kernel file system mounted");
  return say("denied: %s", errno_word(errno));
}
const struct attempt kFileAttempts[] = {
    {"A1 leaked descriptors", a1_descriptors},
    {"A1 climb from descriptors", a1_climb},
    {"A2 write the runtime's file", a2_runtime},
    {"A2 #!/proc/self/exe", a2_interpreter},
    {"A4 replace /dev nodes", a4_replace_dev},
    {"A5 bind over /proc/self/attr", a5_bind_proc},
    {"A5 bind /proc/sys elsewhere", a5_bind_sys},
    {"A5 a new /proc", a5_new_proc},
    {"A5 remount /proc/sys writable", a5_remount},
    {"A5 write /proc/self/attr", a5_attr},
    {"A6 chroot and fchdir", a6_chroot},
    {"A6 pivot_root", a6_pivot},
    {"A6 mount --move", a6_move},
    {"A6 umount /proc", a6_umount_proc},
    {"A6 umount /dev", a6_umount_dev},
    {"A6 umount /", a6_umount_root},
    {"A6 remount /", a6_remount_root},
    {"A6 remount /usr writable", a6_remount_usr},
    {"A6 the new mount calls", a6_new_mount_api},
    {"A7 unshare user", a7_unshare_user},
    {"A7 unshare mount", a7_unshare_mount},
    {"A7 unshare net", a7_unshare_net},
    {"A7 clone NEWUSER", a7_clone_user},
    {"A7 clone3 NEWUSER", a7_clone3_user},
    {"A7 overlay in a new namespace", a7_overlay},
    {"A8 setns to process 1", a8_setns},
    {"A9 mknod", a9_mknod},
    {"A9 open devices", a9_devices},
    {"A10 open_by_handle_at", a10_handle},
    {"A10 name_to_handle_at", a10_name_to_handle},
    {"A11 mount cgroups", a11_mount_cgroup},
    {"A11 write cgroup files", a11_cgroup_files},
    {"A12 write sysctls", a12_sysctl},
    {"A12 mount binfmt_misc", a12_binfmt},
    {"A13 sysrq, power, firmware", a13_firmware},
    {"A13 debugfs, tracefs, sysfs", a13_debugfs},
    {NULL, NULL},
};

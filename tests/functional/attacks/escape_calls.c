// Part A from 14 on: system calls, limits, terminals, the shared image, process 1; and sockets,
// without any link.
#include "escape.h"

static char* a14_init_module(void) { return judge(syscall(SYS_init_module, "", 0, "")); }
static char* a14_finit_module(void) { return judge(syscall(SYS_finit_module, 0, "", 0)); }
static char* a14_delete_module(void) {
  return judge(syscall(SYS_delete_module, "no_such_module", 0));
}
static char* a14_kexec(void) { return judge(syscall(SYS_kexec_load, 0, 0, 0, 0)); }
static char* a14_kexec_file(void) { return judge(syscall(SYS_kexec_file_load, -1, -1, 0, 0, 0)); }
// LINUX_REBOOT_CMD_CAD_OFF only turns Ctrl-Alt-Del off: the least that needs the right to reboot.
static char* a14_reboot(void) { return judge(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL)); }
static char* a14_swapon(void) { return judge(syscall(SYS_swapon, "/tmp/none", 0)); }
static char* a14_swapoff(void) { return judge(syscall(SYS_swapoff, "/tmp/none")); }
static char* a14_iopl(void) { return judge(syscall(SYS_iopl, 3)); }
static char* a14_ioperm(void) { return judge(syscall(SYS_ioperm, 0x80, 1, 1)); }
static char* a14_acct(void) { return judge(syscall(SYS_acct, "/tmp/none")); }
static char* a14_quotactl(void) { return judge(syscall(SYS_quotactl, 0, "/dev/vda", 0, NULL)); }
static char* a14_settime(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return judge(syscall(SYS_clock_settime, CLOCK_REALTIME, &now));
}
static char* a14_hostname(void) {
  char name[65];
  gethostname(name, sizeof name);
  if (sethostname(name, strlen(name)) == 0)
    return say("contained: its own name, in its own namespace");
  return say("denied: %s", errno_word(errno));
}
static char* a14_syslog(void) {
  char buffer[64];
  return judge(syscall(SYS_syslog, 3, buffer, sizeof buffer));
}
static char* a14_vhangup(void) { return judge(syscall(SYS_vhangup)); }
static char* a14_int80(void) {  // mount by the 32-bit gate: a filter that looks at one architecture
                                // only lets it through
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(21L), "b"(0L), "c"(0L), "d"(0L), "S"(0L), "D"(0L)
                   : "memory", "r8", "r9", "r10", "r11");
  if (result >= 0) return say("ALLOWED");
  if (result == -EFAULT) return say("ALLOWED: the kernel looked at the arguments of a 32-bit call");
  return say("denied: %s", errno_word((int)-result));
}
static char* a14_x32(void) {
  long result = syscall(0x40000000 + SYS_getpid);
  if (result >= 0) return say("ALLOWED: x32 getpid");
  return say("denied: %s", errno_word(errno));
}
static char* a15_bpf(void) {
  char attr[128] = {0};
  return judge(syscall(SYS_bpf, 0, attr, sizeof attr));
}
static char* a15_perf(void) {
  struct {
    uint32_t type, size;
    uint64_t config;
    char rest[112];
  } attr = {1, 128, 0};
  return judge(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}
static char* a15_userfaultfd(void) { return judge(syscall(SYS_userfaultfd, 0)); }
static char* a15_io_uring(void) {
  char p[256] = {0};
  return judge(syscall(SYS_io_uring_setup, 4, p));
}
static char* a15_add_key(void) { return judge(syscall(SYS_add_key, "user", "x", "y", 1, -3)); }
static char* a15_keyctl(void) { return judge(syscall(SYS_keyctl, 0, -3, 1)); }
static char* a15_request_key(void) { return judge(syscall(SYS_request_key, "user", "x", NULL, 0)); }
static char* a15_ptrace_init(void) { return judge(ptrace(PTRACE_ATTACH, 1, 0, 0)); }
static char* a15_vm_write(void) {
  char byte = 0;
  struct iovec local = {&byte, 1}, remote = {(void*)0x400000, 1};
  return judge(syscall(SYS_process_vm_writev, 1, &local, 1, &remote, 1, 0));
}
static char* a15_pidfd_getfd(void) {
  int fd = syscall(SYS_pidfd_open, 1, 0);
  if (fd < 0) return say("denied: %s", errno_word(errno));
  for (int n = 0; n < 64; n++)
    if (syscall(SYS_pidfd_getfd, fd, n, 0) >= 0)
      return say("ALLOWED: descriptor %d of process 1", n);
  return say("denied: %s", errno_word(errno));
}
static char* a15_own_child(void) {  // this one is to work: debuggers need it
  pid_t child = fork();
  if (!child) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  int works = WIFSTOPPED(status) && ptrace(PTRACE_CONT, child, 0, 0) == 0;
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return works ? say("contained: own child only, as it should be")
               : say("denied: %s", errno_word(errno));
}
static char* a16_status(void) {
  FILE* file = fopen("/proc/self/status", "r");
  char line[256];
  int nnp = -1, seccomp = -1;
  unsigned long long bounding = ~0ull;
  while (fgets(line, sizeof line, file)) {
    sscanf(line, "NoNewPrivs: %d", &nnp);
    sscanf(line, "Seccomp: %d", &seccomp);
    sscanf(line, "CapBnd: %llx", &bounding);
  }
  static const int forbidden[] = {CAP_SYS_ADMIN,
                                  CAP_SYS_PTRACE,
                                  CAP_SYS_MODULE,
                                  CAP_SYS_RAWIO,
                                  CAP_SYS_BOOT,
                                  CAP_SYS_TIME,
                                  CAP_NET_ADMIN,
                                  CAP_NET_RAW,
                                  CAP_MKNOD,
                                  CAP_SYSLOG,
                                  CAP_DAC_READ_SEARCH,
                                  CAP_SYS_RESOURCE,
                                  CAP_SYS_NICE,
                                  CAP_MAC_ADMIN,
                                  38 /* PERFMON */,
                                  39 /* BPF */,
                                  40 /* CHECKPOINT_RESTORE */};
  for (unsigned i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
    if (bounding >> forbidden[i] & 1)
      return say("ALLOWED: capability %d in the bounding set", forbidden[i]);
  if (nnp != 1 || seccomp != 2) return say("ALLOWED: NoNewPrivs %d, Seccomp %d", nnp, seccomp);
  return say("contained: no_new_privs, seccomp, bounding set %llx", bounding);
}
static char* a21_tiocsti(void) {
  char c = 'x';
  int tty = open("/dev/tty", O_RDWR | O_NOCTTY);
  if (ioctl(tty >= 0 ? tty : 0, TIOCSTI, &c) == 0)
    return say("ALLOWED: input pushed into a terminal");
  return say("denied: %s", errno_word(errno));
}
static char* a21_tioclinux(void) {
  char c = 3;
  int tty = open("/dev/tty", O_RDWR | O_NOCTTY);
  return judge(ioctl(tty >= 0 ? tty : 0, 0x541C, &c));
}
static char* a22_write_lower(void) {
  static const char* const paths[] = {"/usr/bin/true", "/usr/lib/os-release", "/bin/bash", NULL};
  char* outcome = NULL;
  for (const char* const* p = paths; *p; p++) {
    int fd = open(*p, O_RDWR);
    if (fd >= 0) return say("ALLOWED: %s opened for writing", *p);
    outcome = say("denied: %s", errno_word(errno));
    fd = open(*p, O_RDONLY);
    if (fd >= 0 && mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
      return say("ALLOWED: mapped for writing");
  }
  return outcome;
}
static char* a22_dirty_pipe(void) {  // CVE-2022-0847; writes back the byte that is there
  int pipes[2], fd = open("/usr/bin/true", O_RDONLY);
  char page[4096], was[16], now[16];
  if (fd < 0 || pipe(pipes)) return say("denied: %s", errno_word(errno));
  int size = fcntl(pipes[1], F_GETPIPE_SZ);
  for (int left = size; left > 0; left -= 4096) write(pipes[1], page, 4096);
  for (int left = size; left > 0; left -= 4096) read(pipes[0], page, 4096);
  pread(fd, was, sizeof was, 0);
  loff_t offset = 4;
  splice(fd, &offset, pipes[1], NULL, 1, 0);
  write(pipes[1], "Z", 1);
  pread(fd, now, sizeof now, 0);
  return memcmp(was, now, sizeof was) ? say("ALLOWED: the page cache of a shared file changed")
                                      : say("contained: the shared page is as it was");
}
static char* a22_dirty_cow(void) {  // CVE-2016-5195, a bounded number of rounds
  int fd = open("/usr/bin/true", O_RDONLY), mem = open("/proc/self/mem", O_RDWR);
  char was[16], now[16];
  pread(fd, was, sizeof was, 0);
  char* map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  if (mem < 0 || map == MAP_FAILED) return say("denied: %s", errno_word(errno));
  for (int i = 0; i < 2000; i++) {
    pwrite(mem, "ZZZZ", 4, (off_t)(intptr_t)map + 4);
    madvise(map, 4096, MADV_DONTNEED);
  }
  pread(fd, now, sizeof now, 0);
  return memcmp(was, now, sizeof was) ? say("ALLOWED: a shared file changed")
                                      : say("contained: only our private copy changed");
}
static char* a23_memfd(void) {
  int fd = memfd_create("x", 0), self = open("/proc/self/exe", O_RDONLY);
  char buffer[65536];
  ssize_t n;
  while ((n = read(self, buffer, sizeof buffer)) > 0) write(fd, buffer, (size_t)n);
  int pipes[2];
  pipe(pipes);
  pid_t child = fork();
  if (!child) {
    dup2(pipes[1], 1);
    close(pipes[0]);
    char *argv[] = {"memfd", "A16 limits", NULL}, *env[] = {NULL};
    syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH);
    _exit(99);
  }
  close(pipes[1]);
  n = read(pipes[0], buffer, sizeof buffer - 1);
  buffer[n > 0 ? n : 0] = 0;
  int status;
  waitpid(child, &status, 0);
  if (strstr(buffer, "contained")) return say("contained: it runs, under the same limits");
  return say(n > 0 ? "ALLOWED: %s" : "denied: it does not run%s", n > 0 ? buffer : "");
}
static char* a24_proc1(void) {
  static const char* const paths[] = {"/proc/1/mem",
                                      "/proc/1/maps",
                                      "/proc/1/environ",
                                      "/proc/1/fd/0",
                                      "/proc/1/root/etc/passwd",
                                      "/proc/1/cwd/x",
                                      "/proc/1/stack",
                                      "/proc/1/syscall",
                                      "/proc/1/auxv",
                                      NULL};
  char* outcome = NULL;
  for (const char* const* p = paths; *p; p++) {
    char byte[64];
    int fd = open(*p, O_RDONLY | O_NONBLOCK);
    if (fd < 0) {
      outcome = say("denied: %s", errno_word(errno));
      continue;
    }
    if (read(fd, byte, sizeof byte) > 0) return say("ALLOWED: %s can be read", *p);
  }
  if (open("/proc/1/oom_score_adj", O_WRONLY) >= 0) return say("ALLOWED: process 1's oom score");
  return outcome ? outcome : say("contained: nothing in them");
}
static char* a24_stop_init(void) {
  int r = kill(1, SIGKILL), s = kill(1, SIGSTOP), t = kill(1, SIGTERM), q = kill(1, SIGSEGV);
  (void)r, (void)s, (void)t, (void)q;
  return kill(1, 0) == 0 || errno == EPERM ? say("contained: process 1 does not notice")
                                           : say("ALLOWED: process 1 is gone");
}
static char* a24_foreign_pids(void) {
  int found = 0;
  for (int pid = 2; pid < 70000; pid++)
    if (kill(pid, 0) == 0 || errno == EPERM) found++;
  return found < 64 ? say("contained: %d processes, all of this box", found)
                    : say("ALLOWED: %d processes answer", found);
}

// ---- sockets: what part C is about as far as there is no link at all
static char* n_socket(int domain, int type, int protocol) {
  int fd = socket(domain, type, protocol);
  if (fd < 0) return say("denied: %s", errno_word(errno));
  return say("ALLOWED: socket");
}
static char* c48_packet(void) { return n_socket(AF_PACKET, SOCK_RAW, 0x0300); }
static char* c48_raw(void) { return n_socket(AF_INET, SOCK_RAW, 1); }
static char* c48_vsock(void) {
  int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (fd < 0) return say("denied: %s", errno_word(errno));
  struct {
    unsigned short family, r;
    unsigned port, cid;
    unsigned char zero[4];
  } host = {AF_VSOCK, 0, 1024, 2, {0}};
  return judge(connect(fd, (struct sockaddr*)&host, sizeof host));
}
static char* c48_alg(void) { return n_socket(AF_ALG, SOCK_SEQPACKET, 0); }
static char* c41_abstract(void) {
  // A name of the host's side that is there on most machines, and one nobody has: both must look
  // the same from here.
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un name = {AF_UNIX, "\0/tmp/.X11-unix/X0"};
  return judge(connect(fd, (struct sockaddr*)&name, sizeof name));
}

const struct attempt kCallAttempts[] = {
    {"A14 init_module", a14_init_module},
    {"A14 finit_module", a14_finit_module},
    {"A14 delete_module", a14_delete_module},
    {"A14 kexec_load", a14_kexec},
    {"A14 kexec_file_load", a14_kexec_file},
    {"A14 reboot", a14_reboot},
    {"A14 swapon", a14_swapon},
    {"A14 swapoff", a14_swapoff},
    {"A14 iopl", a14_iopl},
    {"A14 ioperm", a14_ioperm},
    {"A14 acct", a14_acct},
    {"A14 quotactl", a14_quotactl},
    {"A14 set the clock", a14_settime},
    {"A14 set the host name", a14_hostname},
    {"A14 read the kernel's log", a14_syslog},
    {"A14 vhangup", a14_vhangup},
    {"A14 32-bit system calls", a14_int80},
    {"A14 x32 system calls", a14_x32},
    {"A15 bpf", a15_bpf},
    {"A15 perf_event_open", a15_perf},
    {"A15 userfaultfd", a15_userfaultfd},
    {"A15 io_uring_setup", a15_io_uring},
    {"A15 add_key", a15_add_key},
    {"A15 keyctl", a15_keyctl},
    {"A15 request_key", a15_request_key},
    {"A15 ptrace process 1", a15_ptrace_init},
    {"A15 process_vm_writev", a15_vm_write},
    {"A15 pidfd_getfd of process 1", a15_pidfd_getfd},
    {"A15 ptrace of an own child", a15_own_child},
    {"A16 limits", a16_status},
    {"A21 TIOCSTI", a21_tiocsti},
    {"A21 TIOCLINUX", a21_tioclinux},
    {"A22 write the shared image", a22_write_lower},
    {"A22 dirty pipe", a22_dirty_pipe},
    {"A22 dirty cow", a22_dirty_cow},
    {"A23 memfd and execveat", a23_memfd},
    {"A24 /proc/1", a24_proc1},
    {"A24 signal process 1", a24_stop_init},
    {"A24 foreign pids", a24_foreign_pids},
    {"C41 abstract sockets of the host", c41_abstract},
    {"C48 AF_PACKET", c48_packet},
    {"C48 raw socket", c48_raw},
    {"C48 vsock to the host", c48_vsock},
    {"C48 AF_ALG", c48_alg},
    {NULL, NULL},
};

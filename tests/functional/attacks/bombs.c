// What code inside a box does to use a machine up. Every bomb is bounded by itself, in number and
// in time, so that a box without limits fails a test and not the machine. Prints one line of what
// it got: the test judges.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static const char* why(void) { return strerrorname_np(errno) ? strerrorname_np(errno) : "?"; }

// fork N SECONDS: children that fork on, each generation as many as it can, never more than N at a
// time, all gone by themselves after SECONDS. `asked` bounds it; `alive` is what there really was:
// a child counts itself when it is born, its parent takes it off when it is reaped.
static int bomb_fork(int limit, int seconds) {
  int* asked = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int *alive = asked + 1, *most = asked + 2;
  double end = now() + seconds;
  pid_t first = getpid();
  while (now() < end) {
    pid_t pid = -1;
    if (__sync_add_and_fetch(asked, 1) <= limit) pid = fork();
    if (pid < 0) {
      __sync_sub_and_fetch(asked, 1);
      sched_yield();
    } else if (pid == 0) {
      alarm((unsigned)seconds + 5);
      int seen = __sync_add_and_fetch(alive, 1);
      while (seen > *most) *most = seen;  // near enough: what is lost is a race of equals
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) {
      __sync_sub_and_fetch(alive, 1);
      __sync_sub_and_fetch(asked, 1);
    }
  }
  if (getpid() != first) _exit(0);
  while (waitpid(-1, NULL, 0) > 0) {
  }
  printf("processes %d limit %d\n", *most, limit);
  return 0;
}

static int bomb_memory(long mb) {
  for (long i = 0; i < mb; i++) {
    char* block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return printf("mmap refused at %ld MB: %s\n", i, why()), 0;
    memset(block, (int)i | 1, 1 << 20);
  }
  printf("touched %ld MB\n", mb);
  return 0;
}

static int bomb_file(const char* path, long mb) {
  static char block[1 << 20];
  for (size_t i = 0; i < sizeof block; i++) block[i] = (char)rand();
  int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
  if (fd < 0) return printf("open: %s\n", why()), 0;
  for (long i = 0; i < mb; i++)
    if (write(fd, block, sizeof block) != (ssize_t)sizeof block)
      return printf("stopped at %ld MB: %s\n", i, why()), 0;
  printf("wrote %ld MB\n", mb);
  return 0;
}

static int bomb_sparse(const char* path) {
  int fd = open(path, O_CREAT | O_RDWR, 0644);
  int truncated = ftruncate(fd, 1L << 50);
  const char* truncate_why = why();
  int allocated = fallocate(fd, 0, 0, 1L << 50);
  printf("truncate 1P: %s; fallocate 1P: %s\n", truncated ? truncate_why : "done",
         allocated ? why() : "done");
  return 0;
}

static int bomb_inodes(const char* folder, int limit) {
  mkdir(folder, 0755);
  int made = 0;
  for (; made < limit; made++) {
    char path[256];
    snprintf(path, sizeof path, "%s/%d", folder, made);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    if (fd < 0) break;
    close(fd);
  }
  printf("inodes %d: %s\n", made, made < limit ? why() : "own bound");
  return 0;
}

static int bomb_xattrs(const char* path, int limit) {
  close(open(path, O_CREAT | O_WRONLY, 0644));
  static char value[4000];
  int made = 0;
  for (; made < limit; made++) {
    char name[64];
    snprintf(name, sizeof name, "user.x%d", made);
    if (setxattr(path, name, value, sizeof value, 0)) break;
  }
  printf("xattrs %d: %s\n", made, made < limit ? why() : "own bound");
  return 0;
}

static void* spin(void* end) {
  while (now() < *(double*)end) {
  }
  return NULL;
}
static int bomb_spin(int threads, int seconds) {
  double end = now() + seconds;
  pthread_t last;
  int made = 0;
  for (; made < threads; made++)
    if (pthread_create(&last, NULL, spin, &end)) break;
  while (now() < end) usleep(10000);
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
               (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  printf("threads %d cpu %.2f of %d s\n", made, cpu, seconds);
  return 0;
}

static int bomb_priority(void) {
  struct sched_param p = {.sched_priority = 99};
  int fifo = sched_setscheduler(0, SCHED_FIFO, &p);
  const char* fifo_why = why();
  int rr = sched_setscheduler(0, SCHED_RR, &p);
  const char* rr_why = why();
  struct {
    unsigned size, policy;
    unsigned long long flags;
    int nice;
    unsigned prio;
    unsigned long long runtime, deadline, period;
  } d = {48, 6, 0, 0, 0, 10000000, 20000000, 20000000};
  long deadline = syscall(SYS_sched_setattr, 0, &d, 0);
  const char* deadline_why = why();
  int nice = setpriority(PRIO_PROCESS, 0, -20);
  const char* nice_why = why();
  long io = syscall(SYS_ioprio_set, 1, 0, 1 << 13);
  printf("fifo %s; rr %s; deadline %s; nice %s; ioprio %s\n", fifo ? fifo_why : "ALLOWED",
         rr ? rr_why : "ALLOWED", deadline ? deadline_why : "ALLOWED", nice ? nice_why : "ALLOWED",
         io ? why() : "ALLOWED");
  return 0;
}

static int bomb_files(int limit) {
  int made = 0;
  while (made < limit && open("/dev/null", O_RDONLY) >= 0) made++;
  printf("files %d: %s\n", made, made < limit ? why() : "own bound");
  return 0;
}
static int bomb_sockets(int limit) {
  int made = 0;
  while (made < limit && socket(AF_INET, SOCK_STREAM, 0) >= 0) made++;
  printf("sockets %d: %s\n", made, made < limit ? why() : "own bound");
  return 0;
}
static int bomb_epoll(void) {
  int previous = epoll_create1(0), depth = 0;
  for (; depth < 64; depth++) {
    int next = epoll_create1(0);
    struct epoll_event event = {EPOLLIN};
    if (next < 0 || epoll_ctl(next, EPOLL_CTL_ADD, previous, &event)) break;
    previous = next;
  }
  printf("epoll depth %d: %s\n", depth, depth < 64 ? why() : "own bound");
  return 0;
}
static int bomb_inotify(int limit) {
  int instances = 0, watches = 0, fd = -1;
  for (; instances < limit; instances++) {
    int made = inotify_init1(0);
    if (made < 0) break;
    fd = made;
  }
  const char* instance_why = why();
  mkdir("/tmp/watched", 0755);
  for (; watches < limit; watches++) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/watched/%d", watches);
    mkdir(path, 0755);
    if (inotify_add_watch(fd, path, IN_MODIFY) < 0) break;
  }
  printf("inotify instances %d (%s) watches %d (%s)\n", instances,
         instances < limit ? instance_why : "own bound", watches,
         watches < limit ? why() : "own bound");
  return 0;
}
static int bomb_mlock(long mb) {
  char* block =
      mmap(NULL, (size_t)mb << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return printf("mmap: %s\n", why()), 0;
  int locked = mlock(block, (size_t)mb << 20);
  printf("mlock %ld MB: %s\n", mb, locked ? why() : "done");
  return 0;
}
static int bomb_connections(
    int limit) {  // loopback pairs: ports and buffers of the box's own network namespace
  int server = socket(AF_INET, SOCK_STREAM, 0);
  struct {
    unsigned short family, port;
    unsigned address;
    char zero[8];
  } a = {AF_INET, 0, 0x0100007f, {0}};
  socklen_t size = sizeof a;
  bind(server, (void*)&a, sizeof a);
  listen(server, 4096);
  getsockname(server, (void*)&a, &size);
  int made = 0;
  for (; made < limit; made++) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (void*)&a, sizeof a)) break;
    if (accept(server, NULL, NULL) < 0) break;
  }
  printf("connections %d: %s\n", made, made < limit ? why() : "own bound");
  return 0;
}
static int hang_vfork(
    int seconds) {  // the parent waits in the kernel, not to be woken by most signals
  if (vfork() == 0) {
    sleep((unsigned)seconds);
    _exit(0);
  }
  return 0;
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  signal(SIGXFSZ, SIG_IGN);
  alarm(120);
  const char* what = argc > 1 ? argv[1] : "";
  const char *a = argc > 2 ? argv[2] : "0", *b = argc > 3 ? argv[3] : "0";
  if (!strcmp(what, "fork")) return bomb_fork(atoi(a), atoi(b));
  if (!strcmp(what, "memory")) return bomb_memory(atol(a));
  if (!strcmp(what, "file")) return bomb_file(a, atol(b));
  if (!strcmp(what, "sparse")) return bomb_sparse(a);
  if (!strcmp(what, "inodes")) return bomb_inodes(a, atoi(b));
  if (!strcmp(what, "xattrs")) return bomb_xattrs(a, atoi(b));
  if (!strcmp(what, "spin")) return bomb_spin(atoi(a), atoi(b));
  if (!strcmp(what, "priority")) return bomb_priority();
  if (!strcmp(what, "files")) return bomb_files(atoi(a));
  if (!strcmp(what, "sockets")) return bomb_sockets(atoi(a));
  if (!strcmp(what, "epoll")) return bomb_epoll();
  if (!strcmp(what, "inotify")) return bomb_inotify(atoi(a));
  if (!strcmp(what, "mlock")) return bomb_mlock(atol(a));
  if (!strcmp(what, "connections")) return bomb_connections(atoi(a));
  if (!strcmp(what, "vfork")) return hang_vfork(atoi(a));
  fprintf(stderr, "unknown bomb '%s'\n", what);
  return 2;
}

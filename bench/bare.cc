// The yardstick for making a box: nothing but the system calls. Each line on stdin makes one
// container (all namespaces, an overlay, the mounts a program needs, pivot_root), runs the program
// in it and prints the microseconds from the start to the program's first byte of output. Cleaning
// up is not counted.
//
//   bench_bare EMPTY-DIRECTORY PROGRAM ARG…      PROGRAM is one of the machine's /usr
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/fd.h"
#include "sys/tree.h"

namespace {

using glovebox::Fd;
using glovebox::str;

void check(long result, const char* what) {
  if (result >= 0) return;
  std::fprintf(stderr, "bench_bare: %s: %s\n", what, std::strerror(errno));
  ::_exit(1);
}

struct Places {
  std::string lower, upper, work, root;
};

// The lowest layer: mount points, and the links of a merged /usr.
void make_lower(const std::string& dir) {
  for (const char* name : {"", "/usr", "/proc", "/dev", "/etc", "/tmp"})
    check(::mkdir((dir + name).c_str(), 0755), "mkdir");
  for (const char* name : {"bin", "sbin", "lib", "lib32", "lib64"})
    if (::access(str("/", name).c_str(), F_OK) == 0)
      check(::symlink(str("usr/", name).c_str(), str(dir, "/", name).c_str()), "symlink");
}

void write_map(pid_t pid, const char* file) {
  Fd fd(::open(str("/proc/", pid, "/", file).c_str(), O_WRONLY | O_CLOEXEC));
  check(::write(fd.get(), "0 0 65536", 9), file);
}

void mount_devices(const std::string& dev) {
  check(::mount("dev", dev.c_str(), "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k"),
        "mount dev");
  for (const char* name : {"null", "zero", "full", "random", "urandom", "tty"}) {
    std::string node = str(dev, "/", name);
    Fd file(::open(node.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    check(::mount(str("/dev/", name).c_str(), node.c_str(), nullptr, MS_BIND, nullptr),
          "bind device");
  }
  for (const char* name : {"/pts", "/shm"})
    check(::mkdir((dev + name).c_str(), 0755), "mkdir in dev");
  check(::mount("devpts", (dev + "/pts").c_str(), "devpts", MS_NOSUID | MS_NOEXEC,
                "newinstance,ptmxmode=0666,mode=0620"),
        "mount devpts");
  check(::mount("shm", (dev + "/shm").c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=16m"),
        "mount shm");
  for (auto [link, target] : {std::pair{"/fd", "/proc/self/fd"},
                              {"/stdin", "/proc/self/fd/0"},
                              {"/stdout", "/proc/self/fd/1"},
                              {"/stderr", "/proc/self/fd/2"},
                              {"/ptmx", "pts/ptmx"}})
    check(::symlink(target, (dev + link).c_str()), "link in dev");
}

[[noreturn]] void enter(const Places& places, int go, int out, char** program) {
  char byte;
  check(::read(go, &byte, 1), "wait for the maps");
  const std::string& root = places.root;
  check(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "private mounts");
  std::string layers = str("lowerdir=", places.lower, ",upperdir=", places.upper,
                           ",workdir=", places.work, ",userxattr");
  check(::mount("overlay", root.c_str(), "overlay", MS_NOSUID | MS_NODEV, layers.c_str()),
        "mount overlay");
  check(::mount("/usr", (root + "/usr").c_str(), nullptr, MS_BIND, nullptr), "bind usr");
  check(::mount(nullptr, (root + "/usr").c_str(), nullptr,
                MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr),
        "usr read-only");
  check(
      ::mount("proc", (root + "/proc").c_str(), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr),
      "mount proc");
  mount_devices(root + "/dev");
  check(::chdir(root.c_str()), "chdir");
  check(::syscall(SYS_pivot_root, ".", "."), "pivot_root");
  check(::umount2(".", MNT_DETACH), "detach the old root");
  check(::chdir("/"), "chdir");
  check(::sethostname("bare", 4), "sethostname");
  check(::dup2(out, 1), "dup2");
  const char* env[] = {"PATH=/usr/bin", nullptr};
  ::execve(program[0], program, const_cast<char**>(env));
  check(-1, program[0]);
  ::_exit(1);
}

double one(const std::string& dir, int number, char** program) {
  std::string box = str(dir, "/", number);
  Places places{dir + "/lower", box + "/u", box + "/w", box + "/root"};
  auto start = std::chrono::steady_clock::now();
  for (const std::string& path : {box, places.upper, places.work, places.root})
    check(::mkdir(path.c_str(), 0755), "mkdir");
  int go[2], out[2];
  check(::pipe2(go, O_CLOEXEC), "pipe");
  check(::pipe2(out, O_CLOEXEC), "pipe");
  clone_args args{};
  args.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
               CLONE_NEWUTS | CLONE_NEWCGROUP;
  args.exit_signal = SIGCHLD;
  auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  check(pid, "clone3");
  if (pid == 0) enter(places, go[0], out[1], program);
  Fd go_read(go[0]), go_write(go[1]), out_read(out[0]), out_write(out[1]);
  write_map(pid, "uid_map");
  write_map(pid, "gid_map");
  check(::write(go_write.get(), "g", 1), "let the child go");
  out_write.reset();
  char first = 0;
  ssize_t got = ::read(out_read.get(), &first, 1);
  auto end = std::chrono::steady_clock::now();

  int status = 0;
  check(::waitpid(pid, &status, 0), "waitpid");
  if (got != 1 || status != 0) std::exit(1);
  if (auto removed = glovebox::sys::remove_tree(box); !removed)
    std::fprintf(stderr, "bench_bare: %s\n", removed.error().what.c_str());
  return std::chrono::duration<double, std::micro>(end - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: bench_bare EMPTY-DIRECTORY PROGRAM ARG...\n");
    return 2;
  }
  std::string dir = argv[1];
  make_lower(dir + "/lower");
  int number = 0;
  for (char line[16]; std::fgets(line, sizeof line, stdin);) {
    std::printf("%.1f\n", one(dir, ++number, argv + 2));
    std::fflush(stdout);
  }
}

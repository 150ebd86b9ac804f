// What code inside a box tries in order to get out. Each attempt runs in a child of its own with a
// deadline and prints one line:
//     name <TAB> denied: EPERM | contained: why | ALLOWED: what
// "denied" is an errno and no effect; "contained" means that the call went through and leads
// nowhere. Anything that starts with ALLOWED fails the test. Nothing here can do harm where it
// succeeds by mistake: what is written is what is there already.
#pragma once

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

struct attempt {
  const char* name;
  char* (*run)(void);
};
// Both lists end with an empty name.
extern const struct attempt kFileAttempts[];  // escape_files.c: A1 to A13
extern const struct attempt kCallAttempts[];  // escape_calls.c: A14 and on

static char text[4096];
static const char* errno_word(int e) {
  const char* name = strerrorname_np(e);
  return name ? name : "an unknown errno";
}
static char* say(const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return text;
}
// The usual judgement: a call that must fail.
static char* judge(long result) {
  return result < 0 ? say("denied: %s", errno_word(errno)) : say("ALLOWED: returned %ld", result);
}

static char* open_for(const char* path, int flags) {
  int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return say("denied: %s", errno_word(errno));
  close(fd);
  return say("ALLOWED: opened %s", path);
}
// Opens for writing and, where even that works, writes back what was read: an effect that is none.
static char* write_back(const char* path) {
  char was[512];
  int in = open(path, O_RDONLY | O_NONBLOCK);
  ssize_t n = in < 0 ? -1 : read(in, was, sizeof was);
  if (in >= 0) close(in);
  int out = open(path, O_WRONLY | O_NONBLOCK);
  if (out < 0) return say("denied: %s", errno_word(errno));
  if (n <= 0) n = 0;
  if (write(out, was, (size_t)n) < 0) return say("denied: %s at write", errno_word(errno));
  return say("ALLOWED: wrote %s", path);
}
// The first that is not denied speaks for all.
static char* each(char* (*attempt)(const char*), const char* const* paths) {
  static char first[4096];
  first[0] = 0;
  for (; *paths; paths++) {
    char* outcome = attempt(*paths);
    if (strncmp(outcome, "denied", 6) && strncmp(outcome, "contained", 9))
      return say("%s (%s)", strdup(outcome), *paths);
    if (!first[0]) snprintf(first, sizeof first, "%s", outcome);
  }
  return say("%s", first);
}
static struct stat root_stat(void) {
  struct stat s;
  stat("/", &s);
  return s;
}
static char* same_root(struct stat before, const char* how) {
  struct stat now = root_stat();
  if (now.st_ino == before.st_ino && now.st_dev == before.st_dev)
    return say("contained: %s ends at the box's own root", how);
  return say("ALLOWED: another root by %s", how);
}

// From outside into the namespaces of a process that runs, such as the first one of a box.
//
// Each call runs on a thread of its own that enters and ends there: a namespace is a thread's, and
// one that went in never comes back to do other work. Needs the host's privileges. A few
// microseconds each, but for callers with an event loop: on a pool.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

// A handle on a process, which no other can come to be. That it is the process that was meant must
// be checked after this (a box's hand: by its control group).
Result<Fd> open_process(pid_t pid);

struct InsideAddress {
  std::string host = "127.0.0.1";  // IPv4 or IPv6, in numbers
  int port = 0;                    // 0: any that is free
  int type = 0;                    // SOCK_STREAM, which then listens, or SOCK_DGRAM
};
struct InsideSocket {
  Fd fd;  // close-on-exec, does not block
  int port = 0;
};
// A socket in the process's network namespace, for whoever gets the descriptor, wherever that one
// lives: all who connect to it come from in there. While it is open the namespace stays.
// EADDRINUSE is a conflict.
Result<InsideSocket> listen_inside(int process, const InsideAddress& address);

// One that is not bound: to connect to what listens in there.
Result<Fd> socket_inside(int process, int family, int type, int protocol = 0);

// A read-only mount, detached, of `directory`/`name`; `directory`/none must be an empty directory.
// A box that has it learns from its mount table nothing of where it stands.
Result<Fd> make_view(const std::string& directory, const std::string& name);

// Attaches the detached `mount` at `path` as the process sees it. No link is followed on the way,
// and the place must be on a tmpfs (a box's /dev, which is ours): nobody inside can have prepared
// it. False: something is mounted there already.
Result<bool> mount_inside(int process, int mount, const std::string& path);

}  // namespace glovebox::sys

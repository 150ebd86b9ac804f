#include "sys/inside.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstring>

#include "sys/mount.h"
#include "sys/own_thread.h"

namespace glovebox::sys {

namespace {

struct InetAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  in_port_t& port() {
    return storage.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&storage)->sin_port
                                        : reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port;
  }
};

Result<InetAddress> address_of(const InsideAddress& given) {
  InetAddress address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET, given.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    address.size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, given.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    address.size = sizeof *v6;
  } else {
    return Error{Code::invalid, str(given.host, " is not an address in numbers")};
  }
  if (given.port < 0 || given.port > 65535) return Error{Code::invalid, "no such port"};
  address.port() = htons(static_cast<std::uint16_t>(given.port));
  return address;
}

Result<InsideSocket> bound(const InsideAddress& given) {
  TRY(address, address_of(given));
  InsideSocket made;
  made.fd.reset(::socket(address.storage.ss_family, given.type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.fd) return sys_error("socket");
  // A port that was ours a moment ago, with connections that have only just ended.
  const int on = 1;
  if (given.type == SOCK_STREAM)
    ::setsockopt(made.fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(made.fd.get(), address.get(), address.size) < 0) {
    Error error = sys_error(str("bind ", given.host, " port ", given.port));
    if (error.tag == "EADDRINUSE") error.code = Code::conflict;
    return error;
  }
  if (given.type == SOCK_STREAM && ::listen(made.fd.get(), 128) < 0) return sys_error("listen");
  if (::getsockname(made.fd.get(), address.get(), &address.size) < 0)
    return sys_error("getsockname");
  made.port = ntohs(address.port());
  return made;
}

Result<bool> attach(int mount, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  Fd place(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
  if (!place) return sys_error(str("open ", path));
  struct statx info{};
  if (::statx(place.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &info) < 0)
    return sys_error(str("look at ", path));
  if (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) return false;
  struct statfs fs{};
  if (::fstatfs(place.get(), &fs) < 0) return sys_error(str("look at ", path));
  if (fs.f_type != TMPFS_MAGIC)
    return Error{Code::forbidden, str(path, " is not where it should be")};
  if (::syscall(SYS_move_mount, mount, "", place.get(), "",
                MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
    return sys_error(str("mount at ", path));
  return true;
}

}  // namespace

Result<Fd> open_process(pid_t pid) {
  Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return sys_error(str("process ", pid));
  return process;
}

Result<InsideSocket> listen_inside(int process, const InsideAddress& address) {
  return on_own_thread<InsideSocket>([&]() -> Result<InsideSocket> {
    if (::setns(process, CLONE_NEWNET) < 0) return sys_error("enter the network namespace");
    return bound(address);
  });
}

Result<Fd> socket_inside(int process, int family, int type, int protocol) {
  return on_own_thread<Fd>([&]() -> Result<Fd> {
    if (::setns(process, CLONE_NEWNET) < 0) return sys_error("enter the network namespace");
    Fd made(::socket(family, type | SOCK_CLOEXEC, protocol));
    if (!made) return sys_error("socket");
    return made;
  });
}

Result<Fd> make_view(const std::string& directory, const std::string& name) {
  return on_own_thread<Fd>([&]() -> Result<Fd> {
    // Overlays show the names of their layers as they were given: short ones, from in there.
    if (::unshare(CLONE_FS) < 0) return sys_error("own working directory");
    if (::chdir(directory.c_str()) < 0) return sys_error(str("enter ", directory));
    return make_overlay(name + ":none", "", "", 0,
                        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY);
  });
}

Result<bool> mount_inside(int process, int mount, const std::string& path) {
  return on_own_thread<bool>([&]() -> Result<bool> {
    // Threads share root and working directory, which a mount namespace changes.
    if (::unshare(CLONE_FS) < 0) return sys_error("own working directory");
    if (::setns(process, CLONE_NEWNS) < 0) return sys_error("enter the mount namespace");
    return attach(mount, path);
  });
}

}  // namespace glovebox::sys

#include "sys/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace glovebox::sys {

namespace {

struct Place {
  Fd directory;
  sockaddr_un address{};
};

Result<Place> place_of(const std::string& path) {
  auto slash = path.rfind('/');
  if (slash == std::string::npos) return Error{Code::invalid, str("not an absolute path: ", path)};
  Place place;
  place.directory.reset(
      ::open(path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place.directory) return sys_error(str("open folder of ", path));
  std::string shorter = str("/proc/self/fd/", place.directory.get(), "/", path.substr(slash + 1));
  place.address.sun_family = AF_UNIX;
  if (shorter.size() >= sizeof place.address.sun_path)
    return Error{Code::invalid, str("name too long: ", path)};
  std::memcpy(place.address.sun_path, shorter.c_str(), shorter.size() + 1);
  return place;
}

}  // namespace

Result<Fd> listen_unix(const std::string& path, int type) {
  TRY(place, place_of(path));
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return sys_error("socket");
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return sys_error(str("remove old ", path));
  ::fchmod(fd.get(), 0600);  // of the file that bind makes
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&place.address), sizeof place.address) < 0)
    return sys_error(str("bind ", path));
  if (::listen(fd.get(), 16) < 0) return sys_error(str("listen at ", path));
  return fd;
}

Result<Fd> connect_unix(const std::string& path, int type) {
  TRY(place, place_of(path));
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!fd) return sys_error("socket");
  while (::connect(fd.get(), reinterpret_cast<sockaddr*>(&place.address), sizeof place.address) < 0)
    if (errno != EINTR) return sys_error(str("connect to ", path));
  return fd;
}

}  // namespace glovebox::sys

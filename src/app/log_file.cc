#include "app/log_file.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

namespace glovebox::app {

Result<Fd> open_log(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!fd) return sys_error(path);
  return fd;
}

Result<void> rotate_log(const std::string& path, std::uint64_t limit) {
  TRY(log, open_log(path));
  struct stat info{};
  if (::fstat(log.get(), &info) < 0) return sys_error(path);
  if (static_cast<std::uint64_t>(info.st_size) <= limit) return ok;
  std::string part = path + ".part";
  Fd copy(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!copy) return sys_error(part);
  off_t at = 0;
  ssize_t n;
  while ((n = ::sendfile(copy.get(), log.get(), &at, 1 << 20)) > 0) {
  }
  if (n < 0) {  // a full disk: the space is needed more than the old lines
    ::unlink(part.c_str());
  } else {
    ::rename((path + ".1").c_str(), (path + ".2").c_str());
    if (::rename(part.c_str(), (path + ".1").c_str()) < 0) return sys_error(part);
  }
  if (::ftruncate(log.get(), 0) < 0) return sys_error(path);
  return ok;
}

}  // namespace glovebox::app

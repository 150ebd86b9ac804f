#include "orchestrator/environment_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "orchestrator/slug.h"

namespace glovebox::orchestrator {

namespace {

// The holder's own words, for the error of whoever comes second.
std::string words_in(int file) {
  char text[256];
  ssize_t size = ::pread(file, text, sizeof text, 0);
  return valid_utf8(trim(std::string_view(text, size > 0 ? static_cast<std::size_t>(size) : 0)));
}

}  // namespace

Result<EnvironmentLock> EnvironmentLock::take(const std::string& directory,
                                              const std::string& environment) {
  if (::mkdir(directory.c_str(), 0700) < 0 && errno != EEXIST)
    return sys_error(str("make ", directory));
  Fd folder(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return sys_error(str("open ", directory));
  const std::string file = slug("orchestrator-", environment) + ".lock";
  // The folder may be one where others write: their links lead us nowhere.
  Fd lock(::openat(folder.get(), file.c_str(),
                   O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!lock) return sys_error(str("open ", directory, "/", file));
  struct stat facts{};
  // It will be written to: a hard link to another file of ours is no lock.
  if (::fstat(lock.get(), &facts) < 0 || !S_ISREG(facts.st_mode) || facts.st_nlink != 1 ||
      facts.st_uid != ::geteuid())
    return Error{Code::forbidden, str(directory, "/", file, " is no lock of ours")};
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
    if (errno != EWOULDBLOCK) return sys_error(str("lock ", directory, "/", file));
    return Error{Code::conflict, str("another orchestrator serves environment ", environment,
                                     " on this machine (", words_in(lock.get()), ")")};
  }
  const std::string words = str("pid ", ::getpid(), "\n");
  if (::ftruncate(lock.get(), 0) < 0 || ::pwrite(lock.get(), words.data(), words.size(), 0) < 0)
    return sys_error(str("write ", directory, "/", file));
  return EnvironmentLock(std::move(lock));
}

}  // namespace glovebox::orchestrator

#include "app/state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/random.h"
#include "http/client.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

constexpr std::size_t kKeyLimit = 4096;

std::string lock_path(const std::string& state) { return state + "/run/lock"; }

// Whether some process holds the lock. A shared request sees an exclusive holder and disturbs
// nobody who only looks.
bool is_held(int fd) {
  if (::flock(fd, LOCK_SH | LOCK_NB) == 0) {
    ::flock(fd, LOCK_UN);
    return false;
  }
  return true;
}

std::optional<pid_t> pid_in(int fd) {
  char text[32];
  ssize_t n = ::pread(fd, text, sizeof text, 0);
  return n > 0 ? parse_int<pid_t>(trim(std::string_view(text, static_cast<std::size_t>(n))))
               : std::nullopt;
}

}  // namespace

Result<void> prepare_state(const std::string& state) {
  TRY_DO(sys::make_dirs(state, 0755), "state directory");
  for (auto [name, mode] : {std::pair{"/run", 0755}, {"/keys", 0700}, {"/log", 0750}})
    TRY_DO(sys::make_dirs(state + name, static_cast<mode_t>(mode)), "state directory");
  // Made by somebody else, perhaps for himself alone: parts of other users must get to their own
  // directory in it. What is not for them is closed by itself.
  struct stat info{};
  if (::stat(state.c_str(), &info) == 0 && !(info.st_mode & S_IXOTH) &&
      ::chmod(state.c_str(), (info.st_mode | S_IXOTH) & 07777) < 0)
    return sys_error("let others pass through " + state);
  return ok;
}

Result<Secret> read_key(const std::string& state, std::string_view name) {
  std::string path = str(state, "/keys/", name);
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return sys_error(path);
  struct stat info{};
  if (::fstat(fd.get(), &info) < 0) return sys_error(path);
  if (info.st_mode & 077)
    return Error{Code::forbidden,
                 str("others may read the key ", path, "; make a new one, with mode 0600")};
  TRY(text, sys::read_all(fd.get(), kKeyLimit), path);
  std::string_view key = trim(text);
  if (key.size() < 16 || key.find_first_of(" \t\r\n") != key.npos)
    return Error{Code::invalid, str(path, " must hold one word of at least 16 characters")};
  return Secret(std::string(key));
}

Result<Secret> ensure_key(const std::string& state, std::string_view name) {
  auto key = read_key(state, name);
  if (key || key.error().code != Code::not_found) return key;
  // The brain's keys look like what its API calls them, so that one is known when it is seen.
  std::string prefix = name == "brain"         ? "gb-api-"
                       : name == "environment" ? "gb-env-"
                                               : str("gb_", name, "_");
  TRY_DO(sys::write_file_atomic(str(state, "/keys/", name),
                                prefix + base64url(random_bytes(32)) + "\n", 0600),
         "make key ", name);
  return read_key(state, name);
}

Result<InstanceLock> InstanceLock::take(const std::string& state) {
  std::string path = lock_path(state);
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return sys_error(path);
  // A client that looks (find_holder) holds it shared for a moment.
  for (int tries = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) < 0; ++tries) {
    if (errno != EWOULDBLOCK && errno != EINTR) return sys_error(path);
    if (tries == 50) {
      auto pid = pid_in(fd.get());
      return Error{Code::conflict,
                   str("already running", pid ? str(", pid ", *pid) : "", ", in ", state)};
    }
    ::usleep(2000);
  }
  std::string text = str(::getpid(), "\n");
  if (::ftruncate(fd.get(), 0) < 0 ||
      ::pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return sys_error(path);
  return InstanceLock(std::move(fd));
}

Result<EnvironmentLock> EnvironmentLock::take(const std::string& environment,
                                              const std::string& claims) {
  TRY_DO(sys::make_dirs(claims, 0700), "claims");
  std::string path = str(claims, "/environment-", http::encode_path(environment));
  Fd fd;
  // The one before took its file away when it ended: a lock on that is a lock on nothing.
  for (struct stat locked{}, there{}; locked.st_ino == 0 || locked.st_ino != there.st_ino;) {
    fd.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return sys_error(path);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) {
      if (errno != EWOULDBLOCK) return sys_error(path);
      auto pid = pid_in(fd.get());
      return Error{Code::conflict,
                   str("environment ", environment, " is served on this machine already",
                       pid ? str(", by pid ", *pid) : "", "; one orchestrator is enough")};
    }
    if (::fstat(fd.get(), &locked) < 0) return sys_error(path);
    if (::stat(path.c_str(), &there) < 0) there.st_ino = 0;
  }
  std::string text = str(::getpid(), "\n");
  if (::ftruncate(fd.get(), 0) < 0 ||
      ::pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return sys_error(path);
  return EnvironmentLock(std::move(fd), std::move(path));
}

EnvironmentLock::~EnvironmentLock() {
  if (fd_) ::unlink(path_.c_str());  // one that may not stays, and means nothing without its lock
}

Result<std::optional<Holder>> find_holder(const std::string& state) {
  std::string path = lock_path(state);
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return std::optional<Holder>{};
  if (!fd) return sys_error(path);
  for (int tries = 0; tries < 50; ++tries) {
    if (!is_held(fd.get())) return std::optional<Holder>{};
    // Just taken: its pid is not there yet, or still the one before.
    auto pid = pid_in(fd.get());
    Fd pidfd(pid ? static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0)) : -1);
    // Still held, still by that number: then the pidfd is the holder's and can never come to mean
    // another.
    if (pidfd && is_held(fd.get()) && pid_in(fd.get()) == pid)
      return Holder{*pid, std::move(pidfd)};
    ::usleep(2000);
  }
  return Error{Code::unavailable,
               str(path, " is held by a process that cannot be found (in another pid namespace?)")};
}

Result<void> write_endpoints(const std::string& state, const Endpoints& endpoints) {
  return sys::write_file_atomic(state + "/run/endpoints.json", encode(endpoints, state), 0644);
}

Result<Endpoints> read_endpoints(const std::string& state) {
  TRY(text, sys::read_file(state + "/run/endpoints.json", 1 << 20));
  TRY(endpoints, decode_endpoints(text), state, "/run/endpoints.json");
  return endpoints;
}

void remove_endpoints(const std::string& state) {
  ::unlink((state + "/run/endpoints.json").c_str());
}

}  // namespace glovebox::app

#include "app/users.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>

#include "base/fd.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

constexpr int kDeepest = 16;  // directories of a part in each other

// The same lock under which the engine claims the ids of boxes.
Result<Fd> lock(const std::string& claims) {
  TRY_DO(sys::make_dirs(claims, 0700), "claims");
  std::string path = claims + "/lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return sys_error(path);
  while (::flock(fd.get(), LOCK_EX) < 0)
    if (errno != EINTR) return sys_error("lock " + path);
  return fd;
}

std::string claim_of(const std::string& claims, uid_t uid) { return str(claims, "/user-", uid); }

std::optional<uid_t> owner_of(const std::string& directory) {
  struct stat info{};
  if (::lstat(directory.c_str(), &info) < 0) return std::nullopt;
  return info.st_uid;
}

bool in_range(uid_t uid) { return uid >= kFirstUser && uid <= kLastUser; }

// Whether nobody else has it: no user of this machine, no directory that claimed it and still
// belongs to it.
Result<bool> is_free(const std::string& claims, uid_t uid, const std::string& directory) {
  if (::getpwuid(uid)) return false;
  auto claim = sys::read_file(claim_of(claims, uid), 8192);
  if (!claim && claim.error().code == Code::not_found) return true;
  if (!claim) return std::move(claim.error());
  std::string holder(trim(*claim));
  return holder == directory || owner_of(holder) != uid;
}

// The one the directory has, else the first free one from a place that depends on its name: so an
// id tends to stay with an instance, also where a reboot forgot the claims.
Result<uid_t> choose(const std::string& claims, const std::string& directory) {
  constexpr uid_t kCount = kLastUser - kFirstUser + 1;
  uid_t first = kFirstUser + static_cast<uid_t>(std::hash<std::string>()(directory) % kCount);
  if (auto owner = owner_of(directory); owner && in_range(*owner)) first = *owner;
  for (uid_t i = 0; i < kCount; ++i) {
    uid_t uid = kFirstUser + (first - kFirstUser + i) % kCount;
    TRY(free, is_free(claims, uid, directory));
    if (free) return uid;
  }
  return Error{Code::exhausted, str("all user ids for parts are claimed; see ", claims)};
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// By descriptor and without following links: what is below was written by somebody with less rights
// than ours. A file with a second name may be anybody's.
Result<void> give(int fd, User user, int depth) {
  struct stat info{};
  if (::fstat(fd, &info) < 0) return sys_error("fstat");
  bool directory = S_ISDIR(info.st_mode);
  if (!directory && (!S_ISREG(info.st_mode) || info.st_nlink != 1)) return ok;
  auto own = [&]() -> Result<void> {
    if (::fchown(fd, user.uid, user.gid) < 0) return sys_error("fchown");
    return ok;
  };
  if (!directory || depth == kDeepest) return own();
  int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  std::unique_ptr<DIR, CloseDir> entries(::fdopendir(copy));
  if (!entries) return sys_error("read directory");
  while (const dirent* entry = ::readdir(entries.get())) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    Fd inner(::openat(fd, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!inner) continue;  // a link, a socket: not worth keeping
    TRY_DO(give(inner.get(), user, depth + 1), name);
  }
  return own();  // last: whose directory it is says that all below it was done
}

Result<void> give(const std::string& directory, User user) {
  if (owner_of(directory) == user.uid) return ok;
  Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return sys_error(directory);
  TRY_DO(give(fd.get(), user, 0), "give ", directory, " to user ", user.uid);
  return ok;
}

}  // namespace

Result<User> user_for(const std::string& part, const std::string& directory,
                      const std::string& claims) {
  TRY_DO(sys::make_dirs(directory, 0700));
  if (const passwd* entry = ::getpwnam(("glovebox-" + part).c_str())) {
    User user{entry->pw_uid, entry->pw_gid};
    TRY_DO(give(directory, user));
    return user;
  }
  TRY(held, lock(claims));
  TRY(uid, choose(claims, directory));
  // The claim first: one whose directory does not belong to it is nobody's.
  TRY_DO(sys::write_file_atomic(claim_of(claims, uid), directory + "\n", 0600), "claim a user id");
  User user{uid, static_cast<gid_t>(uid)};
  TRY_DO(give(directory, user));
  return user;
}

Result<void> release_user(const std::string& directory, const std::string& claims) {
  auto owner = owner_of(directory);
  if (!owner || !in_range(*owner)) return ok;
  TRY(held, lock(claims));
  auto claim = sys::read_file(claim_of(claims, *owner), 8192);
  if (claim && trim(*claim) == directory && ::unlink(claim_of(claims, *owner).c_str()) < 0)
    return sys_error("release a user id");
  return ok;
}

std::string closed_to_others(const std::string& path) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    std::string above = path.substr(0, end);
    struct stat info{};
    if (::stat(above.c_str(), &info) == 0 && !(info.st_mode & S_IXOTH)) return above;
    if (end == path.npos) return "";
  }
}

Result<void> become(User user) {
  ::umask(077);
  if (::setgroups(0, nullptr) < 0) return sys_error("setgroups");
  if (::setresgid(user.gid, user.gid, user.gid) < 0) return sys_error("setresgid");
  if (::setresuid(user.uid, user.uid, user.uid) < 0) return sys_error("setresuid");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return sys_error("no new privileges");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return sys_error("not dumpable");
  return ok;
}

}  // namespace glovebox::app

#include "tools/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/error.h"

namespace glovebox::tools {

std::string reason(int error) {
  switch (error) {
    case ENOENT: return "no such file or directory";
    case EACCES:
    case EPERM: return "permission denied";
    case ENOTDIR: return "not a directory";
    case EISDIR: return "is a directory";
    case ELOOP: return "too many levels of symbolic links";
    case ENAMETOOLONG: return "file name too long";
    case ENOSPC: return "no space left on device";
    case EMFILE:
    case ENFILE: return "too many open files";
    case 0: return "i/o error";
  }
  return str("i/o error (", errno_name(error), ")");
}

std::string absolute(std::string_view base, std::string_view path) {
  std::string result;
  auto add = [&result](std::string_view part) {
    for (const std::string& name : split(part, '/')) {
      if (name.empty() || name == ".") continue;
      if (name == "..") {
        result.resize(result.empty() ? 0 : result.rfind('/'));
      } else {
        result += '/' + name;
      }
    }
  };
  if (!path.starts_with('/')) add(base);
  add(path);
  return result.empty() ? "/" : result;
}

std::string parent_of(std::string_view path) {
  std::size_t slash = path.rfind('/');
  return slash == 0 || slash == path.npos ? "/" : std::string(path.substr(0, slash));
}

std::string name_of(std::string_view path) {
  std::string name(path.substr(path.rfind('/') + 1));
  return name.empty() ? "." : name;
}

bool is_within(std::string_view root, std::string_view path) {
  if (root == "/" || root == path) return true;
  return path.size() > root.size() && path.starts_with(root) && path[root.size()] == '/';
}

Sys<std::string> canonical(std::string_view absolute) {
  std::vector<std::string> todo;  // the next component is the last
  auto push = [&todo](std::string_view path) {
    auto names = split(path, '/');
    todo.insert(todo.end(), names.rbegin(), names.rend());
  };
  push(absolute);
  std::string done;
  int links = 0;
  while (!todo.empty()) {
    std::string name = std::move(todo.back());
    todo.pop_back();
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      done.resize(done.empty() ? 0 : done.rfind('/'));
      continue;
    }
    std::string next = done + '/' + name;
    char target[PATH_MAX];
    ssize_t length = ::readlink(next.c_str(), target, sizeof target);
    if (length >= 0) {
      if (++links > kMaxLinks) return std::unexpected(ELOOP);
      if (target[0] == '/') done.clear();
      push({target, static_cast<std::size_t>(length)});
    } else if (errno == EINVAL || errno == ENOENT || errno == ENOTDIR) {
      done = std::move(next);  // no link, or nothing there: a file that is about to be made
    } else {
      return std::unexpected(errno);
    }
  }
  return done.empty() ? "/" : done;
}

Sys<Fd> open_dir(std::string_view canonical, Missing missing) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  Fd at(::open("/", kFlags));
  if (!at) return std::unexpected(errno);
  for (const std::string& name : split(canonical, '/')) {
    if (name.empty()) continue;
    Fd next(::openat(at.get(), name.c_str(), kFlags));
    if (!next && errno == ENOENT && missing == Missing::create) {
      if (::mkdirat(at.get(), name.c_str(), 0700) != 0 && errno != EEXIST)
        return std::unexpected(errno);
      next.reset(::openat(at.get(), name.c_str(), kFlags));
    }
    if (!next) return std::unexpected(errno);
    at = std::move(next);
  }
  return at;
}

Sys<Regular> open_regular(int dir, const std::string& name) {
  Regular result;
  if (::fstatat(dir, name.c_str(), &result.info, AT_SYMLINK_NOFOLLOW) != 0)
    return std::unexpected(errno);
  if (S_ISLNK(result.info.st_mode)) return std::unexpected(ELOOP);  // it was no link a moment ago
  if (!S_ISREG(result.info.st_mode)) return result;
  // It may have become a FIFO since: O_NONBLOCK opens one without waiting, and the second look
  // refuses it.
  Fd file(::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file || ::fstat(file.get(), &result.info) != 0) return std::unexpected(errno);
  if (S_ISREG(result.info.st_mode)) result.file = std::move(file);
  return result;
}

Sys<Regular> open_regular(std::string_view canonical) {
  auto dir = open_dir(parent_of(canonical));
  if (!dir) return std::unexpected(dir.error());
  return open_regular(dir->get(), name_of(canonical));
}

static mode_t type_of(int dir, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return static_cast<mode_t>(DTTOIF(entry.d_type));
  struct stat info{};
  return ::fstatat(dir, entry.d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 ? info.st_mode & S_IFMT : 0;
}

Sys<std::vector<Entry>> list_dir(int dir) {
  Fd readable(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!readable) return std::unexpected(errno);
  std::unique_ptr<DIR, decltype([](DIR* open) { ::closedir(open); })> open(
      ::fdopendir(readable.get()));
  if (!open) return std::unexpected(errno);
  readable.release();
  std::vector<Entry> entries;
  const dirent* entry = nullptr;
  while (entries.size() < kMaxListing && (entry = ::readdir(open.get()))) {
    std::string_view name = entry->d_name;
    if (name == "." || name == ".." || valid_utf8(name) != name) continue;
    entries.push_back({std::string(name), type_of(dir, *entry)});
  }
  std::ranges::sort(entries, {}, &Entry::name);
  return entries;
}

Sys<std::string> read_up_to(int file, std::size_t limit) {
  constexpr std::size_t kPiece = 64 * 1024;
  std::string content;
  while (content.size() < limit) {
    std::size_t have = content.size();
    content.resize(have + std::min(kPiece, limit - have));
    ssize_t got = ::read(file, content.data() + have, content.size() - have);
    if (got < 0 && errno != EINTR) return std::unexpected(errno);
    content.resize(have + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) break;
  }
  return content;
}

}  // namespace glovebox::tools

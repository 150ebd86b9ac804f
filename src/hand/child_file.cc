#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/random.h"
#include "hand/child.h"

// File operations with the rights of the user they are for. A failure is its errno as the exit
// code, and words on stderr.
namespace glovebox::hand {
namespace {

constexpr std::size_t kChunk = 64 * 1024;
constexpr std::size_t kMaxEntries = 200'000;

// The name of an upload that is not complete; taken away again when we are told to end.
char unfinished[PATH_MAX];

void end_upload(int) {
  if (unfinished[0]) ::unlink(unfinished);
  ::_exit(128 + SIGTERM);
}

int fail(const std::string& path, int number) {
  std::string text = str(path, ": ", std::strerror(number), "\n");
  (void)!::write(STDERR_FILENO, text.data(), text.size());
  return number;
}

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

// Until the end of `from`. 0 or the errno.
int copy(int from, int to) {
  std::string buffer(kChunk, '\0');
  for (;;) {
    ssize_t n = ::read(from, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return 0;
    if (!write_all(to, buffer.data(), static_cast<std::size_t>(n))) return errno;
  }
}

int read_file(const std::string& path) {
  // Without blocking: a pipe nobody writes to must not hold us.
  Fd file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat st{};
  if (!file || ::fstat(file.get(), &st) < 0) return fail(path, errno);
  if (S_ISDIR(st.st_mode)) return fail(path, EISDIR);
  if (!S_ISREG(st.st_mode)) return fail(path, EINVAL);
  if (int number = copy(file.get(), STDOUT_FILENO)) return fail(path, number);
  return 0;
}

int make_parents(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != path.npos; at = path.find('/', at + 1))
    if (::mkdir(path.substr(0, at).c_str(), 0777) < 0 && errno != EEXIST) {
      int number = errno;
      struct stat st{};
      if (::stat(path.substr(0, at).c_str(), &st) == 0 && S_ISDIR(st.st_mode)) continue;
      return number;
    }
  return 0;
}

// An upload on its way to `target`: without a name until it is complete where the file system can
// do that, so that nothing is left even of one that was killed; else under a name of its own.
struct Upload {
  Fd file;
  std::string name;

  int open(const std::string& target) {
    std::string dir = target.substr(0, target.rfind('/') + 1);
    name = str(dir, ".upload-", random_id(12));
    if (name.size() >= sizeof unfinished) return ENAMETOOLONG;
    file = Fd(::open(dir.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
    if (file) return 0;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) return errno;
    file = Fd(::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666));
    if (!file) return errno;
    remember();
    return 0;
  }

  int commit(const std::string& target) {
    if (!unfinished[0]) {
      std::string open_file = str("/proc/self/fd/", file.get());
      if (::linkat(AT_FDCWD, open_file.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) < 0)
        return errno;
      remember();
    }
    if (::rename(name.c_str(), target.c_str()) < 0) {
      int number = errno;
      ::unlink(name.c_str());
      return number;
    }
    unfinished[0] = '\0';
    return 0;
  }

  ~Upload() {
    if (unfinished[0]) ::unlink(unfinished);
  }

 private:
  void remember() { std::strcpy(unfinished, name.c_str()); }
};

int write_file(const std::string& path) {
  struct sigaction action{};
  action.sa_handler = end_upload;
  ::sigaction(SIGTERM, &action, nullptr);
  if (path.ends_with('/')) return fail(path, EISDIR);
  if (int number = make_parents(path)) return fail(path, number);
  // A link stays a link: what it leads to is replaced.
  char real[PATH_MAX];
  std::string target = ::realpath(path.c_str(), real) ? real : path;
  struct stat old{};
  bool exists = ::stat(target.c_str(), &old) == 0;
  if (exists && S_ISDIR(old.st_mode)) return fail(path, EISDIR);
  if (exists && !S_ISREG(old.st_mode)) return fail(path, EINVAL);
  if (exists && ::faccessat(AT_FDCWD, target.c_str(), W_OK, AT_EACCESS) < 0)
    return fail(path, errno);
  Upload upload;
  if (int number = upload.open(target)) return fail(path, number);
  if (int number = copy(STDIN_FILENO, upload.file.get())) return fail(path, number);
  if (exists) {
    // It stays whose it was, and what it was for; where that is not ours to say, it becomes ours.
    (void)!::fchown(upload.file.get(), old.st_uid, old.st_gid);
    (void)::fchmod(upload.file.get(), old.st_mode & 0777);
  }
  if (int number = upload.commit(target)) return fail(path, number);
  return 0;
}

int delete_file(const std::string& path) {
  if (::unlink(path.c_str()) == 0) return 0;
  // Of a directory Linux says EISDIR, POSIX EPERM. An empty one goes, too.
  if ((errno == EISDIR || errno == EPERM) && ::rmdir(path.c_str()) == 0) return 0;
  return fail(path, errno);
}

struct Entry {
  std::string name;
  bool is_dir;
  std::int64_t size, modified_ms;
};

int list_directory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return fail(path, errno);
  DIR* dir = ::fdopendir(::dup(fd.get()));
  if (!dir) return fail(path, errno);
  std::vector<Entry> entries;
  while (dirent* found = ::readdir(dir)) {
    std::string name = found->d_name;
    if (name == "." || name == "..") continue;
    if (entries.size() == kMaxEntries) return fail(path, E2BIG);
    struct stat st{};
    // A link is what it leads to; one that leads nowhere is itself.
    if (::fstatat(fd.get(), name.c_str(), &st, 0) < 0 &&
        ::fstatat(fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) < 0)
      continue;  // gone since
    entries.push_back({std::move(name), S_ISDIR(st.st_mode), st.st_size,
                       st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1'000'000});
  }
  ::closedir(dir);
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return a.is_dir != b.is_dir ? a.is_dir : a.name < b.name;
  });
  std::string json = str("{\"path\":\"", json_escape(path), "\",\"entries\":[");
  for (const auto& entry : entries) {
    if (&entry != entries.data()) json += ',';
    json +=
        str("{\"name\":\"", json_escape(entry.name), "\",\"is_dir\":", entry.is_dir, ",\"size\":");
    json += entry.is_dir ? "null" : str(entry.size);
    json += str(",\"modified_at\":", entry.modified_ms, "}");
  }
  json += "]}";
  return write_all(STDOUT_FILENO, json.data(), json.size()) ? 0 : fail(path, errno);
}

}  // namespace

int run_file(const std::string& verb, const std::string& path) {
  if (verb == "read") return read_file(path);
  if (verb == "write") return write_file(path);
  if (verb == "delete") return delete_file(path);
  if (verb == "list") return list_directory(path);
  return fail(verb, ENOSYS);
}

}  // namespace glovebox::hand

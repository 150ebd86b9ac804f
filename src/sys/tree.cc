#include "sys/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/fd.h"
#include "base/random.h"

namespace glovebox::sys {

namespace {

using Dir = std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })>;

bool is_dot(const char* name) {
  return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

// Immutable and append-only marks stop even root. A tenant cannot set them; a restored or foreign
// tree may bring them.
void clear_marks(int parent, const char* name) {
  struct stat info{};
  if (::fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return;  // opening a device would act on it
  Fd file(::openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  int flags = 0;
  if (!file || ::ioctl(file.get(), FS_IOC_GETFLAGS, &flags) != 0) return;
  flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
  (void)::ioctl(file.get(), FS_IOC_SETFLAGS, &flags);
}

// unlinkat that says what happened; `false` means a directory that is not empty.
Result<bool> unlink_one(int parent, const char* name, bool directory) {
  int flags = directory ? AT_REMOVEDIR : 0;
  if (::unlinkat(parent, name, flags) == 0 || errno == ENOENT) return true;
  if (errno == EPERM) {
    clear_marks(parent, ".");
    clear_marks(parent, name);
    if (::unlinkat(parent, name, flags) == 0 || errno == ENOENT) return true;
  }
  if (directory && (errno == ENOTEMPTY || errno == EEXIST)) return false;
  return sys_error(str("remove ", name));
}

// Opens `name` to be listed. Nothing if it is no directory (a link is none), or gone.
Result<Dir> open_directory(int parent, const char* name) {
  Fd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && (errno == ENOTDIR || errno == ELOOP || errno == ENOENT)) return Dir();
  if (!fd) return sys_error(str("open ", name));
  Dir dir(::fdopendir(fd.get()));
  if (!dir) return sys_error(str("list ", name));
  (void)fd.release();  // closedir closes it
  return dir;
}

Result<dev_t> device_of(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return sys_error("look at a directory");
  return info.st_dev;
}

// Empties one tree. A directory found in it is emptied of its files and its own subdirectories are
// moved up beside it, so the tree is never more than two levels deep where we work: no recursion,
// two descriptors, each directory moved at most once.
class Remover {
 public:
  Remover(DIR* top, dev_t device, const std::atomic<bool>* stop)
      : stream_(top), top_(::dirfd(top)), device_(device), stop_(stop) {}

  Result<void> empty() {
    for (;;) {  // Entries come while we list, and listing may miss those: until a pass finds
                // nothing.
      std::size_t before = removed_;
      bool found = false;
      ::rewinddir(stream_);
      while (dirent* entry = next(stream_)) {
        found = true;
        TRY_DO(go_on());
        TRY_DO(remove_entry(entry->d_name));
      }
      if (errno) return sys_error("list directory");
      if (!found) return ok;
      if (removed_ == before) return Error{Code::conflict, "somebody keeps filling the directory"};
    }
  }

 private:
  // With errno 0 at the end of the directory.
  static dirent* next(DIR* dir) {
    dirent* entry;
    do {
      errno = 0;
      entry = ::readdir(dir);
    } while (entry && is_dot(entry->d_name));
    return entry;
  }

  Result<void> remove_entry(const char* name) {
    TRY(dir, open_directory(top_, name));
    if (dir) {
      TRY(device, device_of(::dirfd(dir.get())));
      if (device != device_) return Error{Code::conflict, str(name, " is another file system")};
      TRY_DO(drain(dir.get()));
    }
    TRY(gone, unlink_one(top_, name, static_cast<bool>(dir)));
    if (gone) ++removed_;  // else listing missed entries of it: the next pass comes here again
    return ok;
  }

  Result<void> go_on() const {
    if (stop_ && *stop_) return Error{Code::cancelled, "told to stop"};
    return ok;
  }

  // Files go, subdirectories move up.
  Result<void> drain(DIR* dir) {
    while (dirent* entry = next(dir)) {
      TRY_DO(go_on());
      TRY(subdirectory, is_directory(::dirfd(dir), entry));
      TRY(gone, unlink_one(::dirfd(dir), entry->d_name, subdirectory));
      if (!gone) TRY_DO(hoist(::dirfd(dir), entry->d_name));
      ++removed_;
    }
    return errno ? sys_error("list directory") : ok;
  }

  Result<void> hoist(int dir, const char* name) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      std::string fresh = str(prefix_, next_++);
      if (::renameat2(dir, name, top_, fresh.c_str(), RENAME_NOREPLACE) == 0 || errno == ENOENT)
        return ok;
      if (errno == EXDEV) return empty_in_place(dir, name);
      if (errno != EPERM) break;
      clear_marks(dir, ".");
      clear_marks(dir, name);
    }
    return sys_error(str("move ", name, " up to remove it"));
  }

  // In an overlay, a directory of the layer below is not to be moved.
  Result<void> empty_in_place(int dir, const char* name) {
    TRY(inner, open_directory(dir, name));
    if (inner) TRY_DO(drain(inner.get()));
    TRY(gone, unlink_one(dir, name, true));
    if (!gone) return Error{Code::conflict, str(name, " is filled while it is removed")};
    return ok;
  }

  static Result<bool> is_directory(int parent, const dirent* entry) {
    if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_DIR;
    struct stat info{};
    if (::fstatat(parent, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0)
      return S_ISDIR(info.st_mode);
    if (errno == ENOENT) return false;
    return sys_error(str("look at ", entry->d_name));
  }

  DIR* stream_;
  int top_;
  dev_t device_;
  const std::atomic<bool>* stop_;
  // Not to be guessed, so a tenant cannot have taken the names we move to.
  std::string prefix_ = str(".", random_id(16), "-");
  std::size_t next_ = 0;
  std::size_t removed_ = 0;
};

Result<void> write_fully(int fd, std::string_view content) {
  while (!content.empty()) {
    ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error("write");
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return ok;
}

Result<Fd> create(const std::string& path, std::string_view content, mode_t mode) {
  Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!file) return sys_error("open");
  if (::fchmod(file.get(), mode) != 0) return sys_error("set the mode");
  TRY_DO(write_fully(file.get(), content));
  return file;
}

std::string parent_of(const std::string& path) {
  auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Result<void> remove_tree(int parent_fd, const std::string& name, const std::atomic<bool>* stop) {
  if (name.empty() || is_dot(name.c_str()) || name.find('/') != std::string::npos)
    return Error{Code::invalid, str("\"", name, "\" is not the name of one entry")};
  TRY(top, open_directory(parent_fd, name.c_str()));
  if (!top) {
    TRY_DO(unlink_one(parent_fd, name.c_str(), false));
    return ok;
  }
  struct stat parent{};  // parent_fd may be O_PATH or AT_FDCWD
  if (::fstatat(parent_fd, ".", &parent, 0) != 0) return sys_error("look at the parent directory");
  TRY(device, device_of(::dirfd(top.get())));
  if (device != parent.st_dev) return Error{Code::conflict, str(name, " is another file system")};
  for (int attempt = 0; attempt < 3;
       ++attempt) {  // it may have been filled between the last pass and rmdir
    TRY_DO(Remover(top.get(), device, stop).empty(), "remove ", name);
    TRY(gone, unlink_one(parent_fd, name.c_str(), true));
    if (gone) return ok;
  }
  return Error{Code::conflict, str("remove ", name, ": somebody keeps filling it")};
}

Result<void> remove_tree(const std::string& path, const std::atomic<bool>* stop) {
  auto end = path.find_last_not_of('/');
  if (end == std::string::npos)
    return Error{Code::invalid, "refusing to remove the root directory"};
  std::string trimmed = path.substr(0, end + 1);
  Fd parent(::open(parent_of(trimmed).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!parent && errno == ENOENT) return ok;
  if (!parent) return sys_error(str("open the directory of ", trimmed));
  return remove_tree(parent.get(), trimmed.substr(trimmed.find_last_of('/') + 1), stop);
}

Result<Fd> open_in_root(int root, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  // EAGAIN: somebody renamed something while the kernel looked. As often as somebody who only wants
  // to hold us up can make it happen.
  for (int attempt = 0; attempt < 16; ++attempt) {
    fd = ::syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  if (fd < 0) return sys_error(path);
  return Fd(static_cast<int>(fd));
}

Result<void> make_dirs(const std::string& path, mode_t mode) {
  for (std::size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    std::string part = path.substr(0, end);
    if (part.empty() || part.back() == '/') continue;  // "a//b" and "a/"
    if (::mkdir(part.c_str(), mode) == 0) {
      if (::chmod(part.c_str(), mode) != 0) return sys_error(str("set the mode of ", part));
      continue;
    }
    if (errno != EEXIST) return sys_error(str("make directory ", part));
    struct stat info{};
    if (::stat(part.c_str(), &info) != 0) return sys_error(str("look at ", part));
    if (!S_ISDIR(info.st_mode)) return sys_error(str("make directory ", part), ENOTDIR);
  }
  return ok;
}

Result<void> create_file(const std::string& path, std::string_view content, mode_t mode) {
  TRY_DO(create(path, content, mode), "create ", path);
  return ok;
}

Result<void> write_file_atomic(const std::string& path, std::string_view content, mode_t mode) {
  // A name of its own for each path: what a crash leaves is overwritten by the next write.
  std::string fresh = path + ".new";
  if (::unlink(fresh.c_str()) != 0 && errno != ENOENT) return sys_error(str("remove ", fresh));
  auto written = [&]() -> Result<void> {
    TRY(file, create(fresh, content, mode));
    if (::fsync(file.get()) != 0) return sys_error("flush");
    if (::rename(fresh.c_str(), path.c_str()) != 0) return sys_error("rename");
    return ok;
  }();
  if (!written) {
    ::unlink(fresh.c_str());
    return std::move(written.error()).with(str("write ", path));
  }
  Fd dir(::open(parent_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || ::fsync(dir.get()) != 0) return sys_error(str("flush the directory of ", path));
  return ok;
}

Result<std::string> read_all(int fd, std::size_t limit) {
  std::string content;
  char buffer[16384];
  for (;;) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error("read");
    if (n == 0) return content;
    if (content.size() + static_cast<std::size_t>(n) > limit)
      return Error{Code::too_large, str("longer than ", limit, " bytes")};
    content.append(buffer, static_cast<std::size_t>(n));
  }
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return sys_error(str("open ", path));
  TRY(content, read_all(file.get(), limit), path);
  return content;
}

}  // namespace glovebox::sys

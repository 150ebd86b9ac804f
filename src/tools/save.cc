#include <fcntl.h>

#include <cerrno>
#include <cstdio>

#include "base/random.h"
#include "base/str.h"
#include "tools/fs.h"

namespace glovebox::tools {
namespace {

// A file that is not there yet under its own name; gone again unless renamed.
class TempFile {
 public:
  TempFile(int dir, std::string name)
      : dir_(dir),
        name_(std::move(name)),
        file_(::openat(dir, name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       0600)) {}
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  ~TempFile() {
    if (file_) ::unlinkat(dir_, name_.c_str(), 0);
  }
  int get() const { return file_.get(); }
  bool rename_to(const std::string& name) {
    if (::renameat(dir_, name_.c_str(), dir_, name.c_str()) != 0) return false;
    file_.reset();
    return true;
  }

 private:
  int dir_;
  std::string name_;
  Fd file_;
};

bool write_all(int file, std::string_view content) {
  while (!content.empty()) {
    ssize_t wrote = ::write(file, content.data(), content.size());
    if (wrote < 0 && errno != EINTR) return false;
    if (wrote > 0) content.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return true;
}

}  // namespace

Sys<void> save(int dir, const std::string& name, std::string_view content) {
  struct stat before{};
  bool exists = ::fstatat(dir, name.c_str(), &before, AT_SYMLINK_NOFOLLOW) == 0;
  if (exists && S_ISDIR(before.st_mode)) return std::unexpected(EISDIR);

  TempFile temp(dir, str(".tmp-", ::getpid(), "-", random_id(16)));
  if (temp.get() < 0) return std::unexpected(errno);
  if (exists && ::fchmod(temp.get(), before.st_mode & 0777) != 0) return std::unexpected(errno);
  if (!write_all(temp.get(), content) || ::fsync(temp.get()) != 0 || !temp.rename_to(name))
    return std::unexpected(errno);
  return {};
}

}  // namespace glovebox::tools

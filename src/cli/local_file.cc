#include "cli/local_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/random.h"
#include "base/str.h"
#include "cli/args.h"
#include "cli/output.h"

namespace glovebox::cli {

Result<CopyEnd> parse_copy_end(std::string_view text) {
  std::size_t colon = text.find(':');
  bool in_box = colon != text.npos && colon > 0 && text.substr(0, colon).find('/') == text.npos;
  if (!in_box) {
    if (text.empty()) return usage_error("a path is empty");
    return CopyEnd{"", std::string(text)};
  }
  CopyEnd end{std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
  if (!end.path.starts_with('/'))
    return usage_error(str(
        "'", text, "': a path in a sandbox begins with / (a local file with a colon is ./NAME)"));
  return end;
}

std::string base_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

Result<SourceFile> SourceFile::open(const CopyEnd& end) {
  SourceFile file;
  file.fd_.reset(end.is_stream() ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                 : ::open(end.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.fd_) return sys_error(end.path);
  struct stat info{};
  if (::fstat(file.fd_.get(), &info) < 0) return sys_error(end.path);
  if (S_ISDIR(info.st_mode))
    return Error{Code::unsupported,
                 str(end.path, " is a directory; copy it with: tar -C ", end.path,
                     " -c . | glovebox sandbox exec NAME -- tar -x -C /PATH")};
  off_t at = S_ISREG(info.st_mode) ? ::lseek(file.fd_.get(), 0, SEEK_CUR)
                                   : -1;  // stdin may stand in the middle
  if (at >= 0 && at <= info.st_size) file.length_ = static_cast<std::uint64_t>(info.st_size - at);
  return file;
}

Result<std::string> SourceFile::read() {
  std::string piece(64 * 1024, '\0');
  if (length_)
    piece.resize(
        std::min<std::uint64_t>(piece.size(), *length_));  // not what is appended meanwhile
  if (piece.empty()) return piece;
  ssize_t n;
  while ((n = ::read(fd_.get(), piece.data(), piece.size())) < 0 && errno == EINTR) {
  }
  if (n < 0) return sys_error("read");
  if (n == 0 && length_) return Error{Code::conflict, "the file became shorter while it was read"};
  piece.resize(static_cast<std::size_t>(n));
  if (length_) *length_ -= piece.size();
  return piece;
}

Result<TargetFile> TargetFile::create(const CopyEnd& end, const std::string& name) {
  TargetFile file;
  if (end.is_stream()) {
    file.fd_.reset(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!file.fd_) return sys_error("stdout");
    return file;
  }
  std::string path = end.path;
  struct stat info{};
  bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) {
    path += "/" + name;
    exists = ::stat(path.c_str(), &info) == 0;
  }
  if (exists && S_ISDIR(info.st_mode)) return Error{Code::conflict, path + " is a directory"};
  if (exists &&
      !S_ISREG(info.st_mode)) {  // /dev/null, a named pipe: these are written, not replaced
    file.fd_.reset(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file.fd_) return sys_error(path);
    return file;
  }
  // Through a link the file it points to is replaced, as cp does.
  if (char* real = exists ? ::realpath(path.c_str(), nullptr) : nullptr) {
    path = real;
    ::free(real);
  }
  std::size_t slash = path.rfind('/');
  std::string folder = slash == path.npos ? "." : path.substr(0, slash + 1);
  mode_t mode = exists ? info.st_mode & 07777 : 0666;
  file.path_ = path;
  // Without a name: killed half way it leaves nothing behind. Not every file system can.
  file.fd_.reset(::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, mode));
  if (!file.fd_) {
    file.part_ = str(path, ".", random_id(8), ".part");
    file.fd_.reset(::open(file.part_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode));
    if (!file.fd_) file.part_.clear();
  }
  if (!file.fd_) return sys_error(path);
  if (exists) ::fchmod(file.fd_.get(), mode);
  return file;
}

TargetFile::~TargetFile() {
  if (!part_.empty()) ::unlink(part_.c_str());
}

Result<void> TargetFile::write(std::string_view bytes) { return write_fd(fd_.get(), bytes); }

Result<void> TargetFile::commit() {
  if (path_.empty()) return ok;
  if (part_.empty()) {
    // linkat cannot replace, rename can.
    std::string part = str(path_, ".", random_id(8), ".part");
    std::string self = str("/proc/self/fd/", fd_.get());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, part.c_str(), AT_SYMLINK_FOLLOW) < 0)
      return sys_error(path_);
    part_ = std::move(part);
  }
  if (::rename(part_.c_str(), path_.c_str()) < 0) return sys_error(path_);
  part_.clear();
  return ok;
}

}  // namespace glovebox::cli

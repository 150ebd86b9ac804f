#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/fd.h"
#include "engine/image_parts.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

// Names in /etc that are the same on every machine with these packages, or that programs need to
// agree with /usr. Not here, and never: what may hold a key, a password, a token or a name of this
// network (npmrc, pip.conf, gitconfig, apt, ssh, maven, environment, profile.d …).
constexpr const char* kCopied[] = {
    "alternatives",
    "bindresvport.blacklist",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "deluser.conf",
    "adduser.conf",
    "emacs",
    "ethertypes",
    "fonts",
    "fpc-*.cfg",
    "fpc.cfg",
    "gai.conf",
    "ghostscript",
    "gnucobol",
    "groff",
    "gprofng.rc",
    "host.conf",
    "ImageMagick-*",
    "inputrc",
    "java-*-openjdk",
    "locale.alias",
    "magic",
    "magic.mime",
    "manpath.config",
    "mime.types",
    "netconfig",
    "perl",
    "protocols",
    "python3",
    "python3.[0-9]*",
    "R",
    "rpc",
    "services",
    "sgml",
    "terminfo",
    "texmf",
    "vim",
    "xattr.conf",
    "xml",
};
// Of /etc/ssl: not `private`.
constexpr const char* kCopiedSsl[] = {"certs", "openssl.cnf"};

constexpr std::size_t kMaxFile = 4 << 20;
constexpr int kMaxEntries = 20'000;
constexpr int kMaxDepth = 8;

bool in_image(std::string_view path) {
  return !path.starts_with("/usr/local/") &&
         (path.starts_with("/usr/") || path.starts_with("/etc/"));
}

using Dir = std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })>;

// Opened without following a link in the last place: a listed name must not lead to an unlisted
// one.
Fd open_beside(int parent, const char* name, int flags) {
  return Fd(::openat(parent, name, flags | O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
}

class Copier {
 public:
  // Copies one name from the directory `from` to the path `to` if everybody may read it; passes
  // over it if not.
  Result<void> copy(int from, const char* name, const std::string& to, int depth = 0) {
    struct stat info{};
    if (::fstatat(from, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return ok;  // not on this machine
    if (info.st_uid != 0) return ok;                                        // another user's words
    if (++entries_ > kMaxEntries || depth > kMaxDepth)
      return Error{Code::exhausted,
                   str("/etc has more below ", name, " than an image should hold")};
    if (S_ISLNK(info.st_mode)) return copy_link(from, name, to);
    if (S_ISREG(info.st_mode)) return copy_file(from, name, to);
    if (S_ISDIR(info.st_mode)) return copy_directory(from, name, to, depth);
    return ok;
  }

 private:
  static Result<void> copy_link(int from, const char* name, const std::string& to) {
    char target[PATH_MAX];
    ssize_t n = ::readlinkat(from, name, target, sizeof target - 1);
    if (n <= 0) return ok;
    target[n] = '\0';
    if (target[0] == '/' && !in_image(target)) return ok;
    if (::symlink(target, to.c_str()) != 0) return sys_error(str("make link ", to));
    return ok;
  }

  static Result<void> copy_file(int from, const char* name, const std::string& to) {
    Fd file = open_beside(from, name, 0);
    struct stat info{};
    if (!file || ::fstat(file.get(), &info) != 0) return ok;
    if (!S_ISREG(info.st_mode) || !(info.st_mode & S_IROTH) || info.st_uid != 0) return ok;
    if (info.st_size > static_cast<off_t>(kMaxFile)) return ok;
    TRY(content, sys::read_all(file.get(), kMaxFile), name);
    return sys::create_file(to, content, info.st_mode & 0755);
  }

  Result<void> copy_directory(int from, const char* name, const std::string& to, int depth) {
    Fd fd = open_beside(from, name, O_DIRECTORY);
    struct stat info{};
    if (!fd || ::fstat(fd.get(), &info) != 0) return ok;
    if ((info.st_mode & 0005) != 0005 || info.st_uid != 0) return ok;
    Dir dir(::fdopendir(fd.get()));
    if (!dir) return sys_error(str("list ", name));
    (void)fd.release();
    TRY_DO(sys::make_dirs(to, 0755));
    while (dirent* entry = ::readdir(dir.get())) {
      std::string_view child = entry->d_name;
      if (child == "." || child == "..") continue;
      TRY_DO(copy(::dirfd(dir.get()), entry->d_name, str(to, "/", child), depth + 1));
    }
    return ok;
  }

  int entries_ = 0;
};

Result<void> copy_loader_cache(const std::string& host_etc, const std::string& etc) {
  auto cache = sys::read_file(host_etc + "/ld.so.cache", 64 << 20);
  std::string filtered = cache ? filter_ld_cache(*cache) : "";
  if (filtered.empty()) return ok;  // the loader then searches its own directories
  return sys::create_file(etc + "/ld.so.cache", filtered, 0644);
}

}  // namespace

Result<void> copy_etc(const std::string& host_etc, const std::string& etc) {
  Fd dir(::open(host_etc.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return sys_error(str("open ", host_etc));
  Copier copier;
  Dir names(::fdopendir(::dup(dir.get())));
  if (!names) return sys_error(str("list ", host_etc));
  while (dirent* entry = ::readdir(names.get())) {
    for (const char* pattern : kCopied) {
      if (::fnmatch(pattern, entry->d_name, FNM_PERIOD) != 0) continue;
      TRY_DO(copier.copy(dir.get(), entry->d_name, str(etc, "/", entry->d_name)), "copy /etc/",
             entry->d_name);
      break;
    }
  }
  Fd ssl = open_beside(dir.get(), "ssl", O_DIRECTORY);
  if (ssl) {
    TRY_DO(sys::make_dirs(etc + "/ssl", 0755));
    for (const char* name : kCopiedSsl)
      TRY_DO(copier.copy(ssl.get(), name, str(etc, "/ssl/", name)), "copy /etc/ssl/", name);
  }
  return copy_loader_cache(host_etc, etc);
}

}  // namespace glovebox::engine

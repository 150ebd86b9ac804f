#include "image/pack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <functional>
#include <map>
#include <vector>

#include "image/place.h"
#include "image/tar_writer.h"

namespace glovebox::image {

namespace {

constexpr std::size_t kPiece = 256 * 1024;
constexpr std::size_t kAttributes = 64 * 1024;  // of names, and of one value: the kernel's limits

// Every name below `tree`, parents first, in the same order each time. Deep trees cost no
// descriptors and no stack: each directory is opened by its path.
using Visit =
    std::function<Result<void>(int parent, const std::string& name, const std::string& path)>;
Result<void> walk(int tree, const Visit& visit) {
  struct Level {
    std::string path;
    std::vector<std::string> names;
    std::size_t next = 0;
  };
  Place place(tree);
  TRY(names, names_in(tree));
  std::vector<Level> levels;
  levels.push_back({"", std::move(names)});
  Fd at(::openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!at) return sys_error("open the tree");
  while (!levels.empty()) {
    Level& level = levels.back();
    if (level.next == level.names.size()) {
      levels.pop_back();
      if (levels.empty()) break;
      TRY(up, place.open(levels.back().path, O_RDONLY | O_DIRECTORY));
      at = std::move(up);
      continue;
    }
    const std::string name = level.names[level.next++];
    const std::string path = level.path.empty() ? name : level.path + "/" + name;
    if (path.size() >= PATH_MAX)
      return Error{Code::unsupported, str("a path is longer than ", PATH_MAX, " bytes")};
    TRY_DO(visit(at.get(), name, path));
    Fd inner(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!inner) {
      if (errno == ENOTDIR || errno == ELOOP) continue;
      return sys_error(str("open ", valid_utf8(path)));
    }
    TRY(below, names_in(inner.get()));
    at = std::move(inner);
    levels.push_back({path, std::move(below)});
  }
  return ok;
}

class Packer {
 public:
  Packer(int to, const std::set<ino_t>& opaque, Report& report)
      : to_(to), opaque_(opaque), report_(report) {}

  Result<void> add(int parent, const std::string& name, const std::string& path) {
    TarWriter::Member member{.path = path};
    struct stat& info = member.info;
    if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0)
      return sys_error("look at it");
    TRY_DO(report_.add_entry());
    if (S_ISLNK(info.st_mode)) return link(std::move(member), parent, name);
    if (S_ISFIFO(info.st_mode)) {
      member.type = '6';
      return to_.begin(member);
    }
    if (S_ISCHR(info.st_mode) && info.st_rdev == 0) {
      member.type = '3';
      return to_.begin(member);
    }
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
      report_.note(str("left out: ", S_ISSOCK(info.st_mode) ? "socket " : "device ", path));
      return ok;
    }
    if (S_ISREG(info.st_mode) && info.st_nlink > 1) {
      auto [first, fresh] = linked_.emplace(info.st_ino, path);
      if (!fresh) {
        member.type = '1';
        member.link = first->second;
        return to_.begin(member);
      }
    }
    Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd) return sys_error("open it");
    TRY_DO(attributes(member, fd.get()));
    if (S_ISREG(info.st_mode)) return file(std::move(member), fd.get());
    member.type = '5';
    if (opaque_.contains(info.st_ino)) member.attributes[kHides] = "y";
    return to_.begin(member);
  }

  Result<void> finish() { return to_.finish(); }

 private:
  Result<void> link(TarWriter::Member member, int parent, const std::string& name) {
    char target[PATH_MAX];
    const ssize_t n = ::readlinkat(parent, name.c_str(), target, sizeof target);
    if (n < 0) return sys_error("read link");
    member.type = '2';
    member.link.assign(target, static_cast<std::size_t>(n));
    return to_.begin(member);
  }

  Result<void> attributes(TarWriter::Member& member, int fd) {
    std::string names(kAttributes, '\0'), value(kAttributes, '\0');
    const ssize_t length = ::flistxattr(fd, names.data(), names.size());
    if (length < 0) return errno == ENOTSUP ? ok : sys_error("list attributes");
    for (std::size_t at = 0; at < static_cast<std::size_t>(length);) {
      const std::string name(names.c_str() + at);
      at += name.size() + 1;
      if (!name.starts_with("user.") || name.starts_with("user.overlay.") ||
          name.starts_with(kOurAttributes) || name.contains('='))
        continue;
      const ssize_t size = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
      if (size < 0) return sys_error(str("attribute ", name));
      member.attributes[name] = value.substr(0, static_cast<std::size_t>(size));
    }
    return ok;
  }

  static Result<void> find_holes(TarWriter::Member& member, int fd) {
    const off_t size = member.info.st_size;
    for (off_t at = 0; at < size;) {
      const off_t data = ::lseek(fd, at, SEEK_DATA);
      if (data < 0 && errno != ENXIO) return sys_error("find data");
      if (data < 0 || data >= size) break;
      const off_t hole = ::lseek(fd, data, SEEK_HOLE);
      if (hole < 0) return sys_error("find hole");
      if (data == 0 && hole >= size) return ok;  // there are none
      member.data.emplace_back(data, std::min(hole, size) - data);
      at = hole;
    }
    if (size > 0) member.data.emplace_back(size, 0);  // says where it ends
    return ok;
  }

  Result<void> file(TarWriter::Member member, int fd) {
    TRY_DO(find_holes(member, fd));
    TRY_DO(to_.begin(member));
    if (member.data.empty()) member.data.emplace_back(0, member.info.st_size);
    for (const auto& [offset, length] : member.data) {
      for (off_t done = 0; done < length;) {
        const auto most = std::min(piece_.size(), static_cast<std::size_t>(length - done));
        const ssize_t n = ::pread(fd, piece_.data(), most, offset + done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return sys_error("read it");
        if (n == 0) return Error{Code::internal, "it became shorter"};
        TRY_DO(to_.data(std::string_view(piece_).substr(0, static_cast<std::size_t>(n))));
        TRY_DO(report_.add_bytes(static_cast<std::uint64_t>(n)));
        done += n;
      }
    }
    return to_.finish_data();
  }

  TarWriter to_;
  const std::set<ino_t>& opaque_;
  Report& report_;
  std::map<ino_t, std::string> linked_;  // the first name of files with more than one
  std::string piece_ = std::string(kPiece, '\0');
};

}  // namespace

Result<std::set<ino_t>> opaque_directories(const std::string& tree) {
  Fd root(::open(tree.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root) return sys_error("open the tree");
  std::set<ino_t> found;
  auto look = [&](int parent, const std::string& name, const std::string&) -> Result<void> {
    Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return ok;
    char value = 0;
    if (::fgetxattr(fd.get(), "trusted.overlay.opaque", &value, 1) != 1 || value != 'y') return ok;
    struct stat info{};
    if (::fstat(fd.get(), &info) < 0) return sys_error("look at a directory");
    found.insert(info.st_ino);
    return ok;
  };
  TRY_DO(walk(root.get(), look));
  return found;
}

Result<void> pack(int tree, int to, const std::set<ino_t>& opaque, Report& report) {
  Packer packer(to, opaque, report);
  TRY_DO(packer.add(tree, ".", "."));
  TRY_DO(walk(tree, [&](int parent, const std::string& name, const std::string& path) {
    auto added = packer.add(parent, name, path);
    if (!added) return Result<void>(std::move(added.error()).with(valid_utf8(path)));
    return added;
  }));
  return packer.finish();
}

Result<void> count(int tree, Report& report) {
  std::set<ino_t> linked;
  return walk(tree, [&](int parent, const std::string& name, const std::string&) -> Result<void> {
    struct stat info{};
    if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0)
      return sys_error("look at it");
    TRY_DO(report.add_entry());
    if (!S_ISREG(info.st_mode) || (info.st_nlink > 1 && !linked.insert(info.st_ino).second))
      return ok;
    constexpr std::uint64_t kBlock = 512;  // stat's: holes are none of it
    return report.add_bytes(
        std::min<std::uint64_t>(static_cast<std::uint64_t>(info.st_size),
                                static_cast<std::uint64_t>(info.st_blocks) * kBlock));
  });
}

}  // namespace glovebox::image

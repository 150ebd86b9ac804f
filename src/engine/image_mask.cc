// The layer above the machine's /usr. A box's root may read whatever its layers hold, as root does,
// so what is kept from other users of the machine must not be in them: each such name is covered by
// a whiteout.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "engine/image_parts.h"

namespace glovebox::engine {

namespace {

constexpr std::size_t kMaxWhiteouts = 100'000;
constexpr int kMaxDepth = 100;

using Dir = std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })>;

bool for_everybody(const struct stat& info) {
  if (S_ISLNK(info.st_mode)) return true;
  if (S_ISREG(info.st_mode)) return info.st_mode & S_IROTH;
  if (S_ISDIR(info.st_mode)) return (info.st_mode & 0005) == 0005;
  return false;  // a device, pipe or socket has no business in /usr
}

class Masker {
 public:
  Masker(std::string usr, std::string mask) : usr_(std::move(usr)), mask_(std::move(mask)) {}

  Result<void> run() {
    struct stat top{};
    if (::stat(usr_.c_str(), &top) != 0) return sys_error(str("look at ", usr_));
    device_ = top.st_dev;
    TRY_DO(make_directory("", top));
    TRY_DO(empty_local());
    int root = ::open(usr_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return sys_error(str("open ", usr_));
    path_.push_back({"", top, true});
    TRY_DO(walk(root, 0), usr_);
    // Last, since filling a directory touches its time.
    for (const auto& [path, info] : made_) {
      timespec times[2] = {info.st_atim, info.st_mtim};
      if (::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0)
        return sys_error(str("set the time of ", path));
    }
    return ok;
  }

 private:
  struct Step {
    std::string name;  // relative to usr, with its slash in front
    struct stat info;
    bool in_mask;
  };

  Result<void> walk(int fd, int depth) {
    Dir dir(::fdopendir(fd));
    if (!dir) {
      ::close(fd);
      return sys_error("list directory");
    }
    if (depth > kMaxDepth) return Error{Code::exhausted, "too deep"};
    while (dirent* entry = ::readdir(dir.get())) {
      std::string_view name = entry->d_name;
      if (name == "." || name == ".." || entry->d_type == DT_LNK) continue;
      if (depth == 0 && name == "local") continue;
      TRY_DO(judge(::dirfd(dir.get()), entry->d_name, depth));
    }
    return ok;
  }

  Result<void> judge(int parent, const char* name, int depth) {
    struct stat info{};
    if (::fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return ok;  // somebody installs or removes a package meanwhile
      return sys_error(str("look at ", name));
    }
    // What lies below a mount point cannot be seen from here, and an overlay shows just that.
    if (!for_everybody(info) || info.st_dev != device_) return white_out(name);
    if (!S_ISDIR(info.st_mode)) return ok;
    int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? ok : sys_error(str("open ", name));
    path_.push_back({str(path_.back().name, "/", name), info, false});
    TRY_DO(walk(fd, depth + 1), name);
    path_.pop_back();
    return ok;
  }

  Result<void> white_out(const char* name) {
    if (++whiteouts_ > kMaxWhiteouts)
      return Error{Code::exhausted, "too much of it is not readable by everybody"};
    for (Step& step : path_) {
      if (step.in_mask) continue;
      TRY_DO(make_directory(step.name, step.info));
      step.in_mask = true;
    }
    std::string path = str(mask_, path_.back().name, "/", name);
    if (::mknod(path.c_str(), S_IFCHR, 0) != 0) return sys_error(str("make whiteout ", path));
    return ok;
  }

  // A directory of the layer stands in front of the machine's and lends it its looks: they must be
  // the same.
  Result<void> make_directory(const std::string& name, const struct stat& info) {
    std::string path = mask_ + name;
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return sys_error(str("make ", path));
    if (::lchown(path.c_str(), info.st_uid, info.st_gid) != 0 ||
        ::chmod(path.c_str(), info.st_mode & 07777) != 0)
      return sys_error(str("set owner and mode of ", path));
    made_.emplace_back(path, info);
    return ok;
  }

  Result<void> empty_local() {
    std::string path = mask_ + "/local";
    if (::mkdir(path.c_str(), 0755) != 0 || ::chmod(path.c_str(), 0755) != 0)
      return sys_error(str("make ", path));
    if (::setxattr(path.c_str(), "trusted.overlay.opaque", "y", 1, 0) != 0)
      return sys_error(str("make ", path, " opaque"));
    return ok;
  }

  std::string usr_, mask_;
  dev_t device_ = 0;
  std::vector<Step> path_;  // from usr down to where the walk is
  std::vector<std::pair<std::string, struct stat>> made_;
  std::size_t whiteouts_ = 0;
};

}  // namespace

Result<void> write_usr_mask(const std::string& usr, const std::string& mask) {
  return Masker(usr, mask).run();
}

}  // namespace glovebox::engine

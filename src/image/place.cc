#include "image/place.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>

#include "sys/tree.h"

namespace glovebox::image {

Result<std::string> clean_path(std::string_view name) {
  if (name.size() >= PATH_MAX) return Error{Code::invalid, "a name is too long"};
  if (name.starts_with('/')) return Error{Code::invalid, str(name, ": an absolute name")};
  std::string clean;
  for (const auto& part : split(name, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return Error{Code::invalid, str(name, ": a name that leads upwards")};
    if (part.size() > NAME_MAX) return Error{Code::invalid, "a part of a name is too long"};
    if (!clean.empty()) clean += '/';
    clean += part;
  }
  return clean;
}

Split split_path(const std::string& path) {
  auto slash = path.rfind('/');
  if (slash == path.npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

Result<std::vector<std::string>> names_in(int directory) {
  Fd fd(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return sys_error("list a directory");
  std::unique_ptr<DIR, decltype([](DIR* stream) { ::closedir(stream); })> dir(
      ::fdopendir(fd.get()));
  if (!dir) return sys_error("list a directory");
  (void)fd.release();
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(dir.get()))
    if (std::string_view name = entry->d_name; name != "." && name != "..")
      names.emplace_back(name);
  std::ranges::sort(names);
  return names;
}

Result<Fd> Place::look_up(const std::string& path) {
  return sys::open_in_root(root_, path, O_PATH | O_DIRECTORY);
}

Result<Fd> Place::open(const std::string& path, int flags) {
  return sys::open_in_root(root_, path, flags | O_NOFOLLOW);
}

// One by one from the top: a link in the middle leads where it leads, inside the root.
Result<Fd> Place::make(const std::string& path, mode_t mode) {
  std::string so_far;
  TRY(at, look_up(""));
  for (const auto& part : split(path, '/')) {
    so_far += so_far.empty() ? part : "/" + part;
    auto next = look_up(so_far);
    if (!next && next.error().code == Code::not_found) {
      if (::mkdirat(at.get(), part.c_str(), mode) < 0) {
        if (errno == EEXIST)
          return Error{Code::invalid, str(so_far, " leads nowhere in this tree")};
        return sys_error(str("make ", so_far));
      }
      next = look_up(so_far);
    }
    if (!next) return std::move(next.error());
    at = std::move(*next);
  }
  return at;
}

Result<int> Place::directory(const std::string& path, mode_t make_mode) {
  if (last_ && last_path_ == path) return last_.get();
  auto found = look_up(path);
  if (!found && found.error().code == Code::not_found && make_mode) found = make(path, make_mode);
  if (!found) return std::move(found.error());
  last_ = std::move(*found);
  last_path_ = path;
  return last_.get();
}

void Place::forget() { last_path_ = "/"; }  // which no clean path is; a borrower goes on
Result<void> Place::clear(int parent, const std::string& base) {
  struct stat info{};
  if (::fstatat(parent, base.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0)
    return errno == ENOENT ? ok : sys_error(str("look at ", base));
  if (!S_ISDIR(info.st_mode)) {
    if (::unlinkat(parent, base.c_str(), 0) < 0) return sys_error(str("remove ", base));
    return ok;
  }
  return sys::remove_tree(parent, base);
}

}  // namespace glovebox::image

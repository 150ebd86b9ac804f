#include "sys/beneath.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "base/random.h"
#include "base/str.h"
#include "sys/tree.h"

namespace glovebox::sys::beneath {

namespace {

using Parts = std::vector<std::string>;

Result<Parts> parts_of(const std::string& path) {
  Parts parts = path.empty() ? Parts{} : split(path, '/');
  for (const std::string& part : parts)
    if (part.empty() || part == "." || part == "..")
      return Error{Code::invalid, str(path, " is no clean path")};
  return parts;
}

// The folder `count` parts below `root`.
Result<Fd> walk(int root, const Parts& parts, std::size_t count, Missing missing) {
  Fd at(::openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) return sys_error("open the folder");
  for (std::size_t i = 0; i < count; ++i) {
    const char* part = parts[i].c_str();
    if (missing == Missing::create && ::mkdirat(at.get(), part, 0700) < 0 && errno != EEXIST)
      return sys_error(str("make ", parts[i]));
    Fd next(::openat(at.get(), part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    // A file or a link where the folder was: the way is not there, and nobody follows another.
    if (!next && (errno == ENOTDIR || errno == ENOENT))
      return Error{Code::not_found, str(parts[i], " is no folder")};
    if (!next) return sys_error(str("open ", parts[i]));
    at = std::move(next);
  }
  return at;
}

struct Place {
  Fd folder;
  std::string name;
};
Result<Place> place_of(int root, const std::string& path, Missing missing) {
  TRY(parts, parts_of(path));
  if (parts.empty()) return Error{Code::invalid, "a path without a name"};
  TRY(folder, walk(root, parts, parts.size() - 1, missing), path);
  return Place{std::move(folder), std::move(parts.back())};
}

std::string unfinished_name() {
  const std::string bytes = random_bytes(8);
  return str(".fs-", hex({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}),
             ".tmp");
}

Result<void> fill_new(const Place& place, const std::string& name, const Fill& fill, mode_t mode) {
  Fd file(::openat(place.folder.get(), name.c_str(),
                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return sys_error(str("make ", name));
  TRY_DO(fill(file.get()), name);
  if (::fchmod(file.get(), mode) < 0) return sys_error(str("set the mode of ", name));
  return ok;
}

Result<std::optional<Fd>> open_plain_at(int folder, const std::string& name) {
  // Without blocking: a pipe would hang us.
  Fd file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) < 0) return sys_error(str("open ", name));
  if (!S_ISREG(info.st_mode)) return Error{Code::invalid, str(name, " is no plain file")};
  return std::optional<Fd>(std::move(file));
}

struct Close {
  void operator()(DIR* of) const { ::closedir(of); }
};
using Listing = std::unique_ptr<DIR, Close>;

Result<Listing> list(const Fd& folder, const std::string& path) {
  Fd listed(::openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!listed) return sys_error(str("list ", path));
  Listing entries(::fdopendir(listed.get()));
  if (!entries) return sys_error(str("list ", path));
  (void)listed.release();  // is the list's now
  return entries;
}

// One folder: its files are visited, its folders come later.
Result<void> visit_folder(int root, const std::string& path, std::size_t& left, const Visit& visit,
                          Parts& later) {
  auto folder = open_folder(root, path, Missing::fail);
  if (!folder) return folder.error().code == Code::not_found ? ok : Result<void>(folder.error());
  TRY(entries, list(*folder, path));
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(entries.get());
    if (!entry) break;
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat info{};
    if (::fstatat(folder->get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0) {
      if (errno == ENOENT) continue;
      return sys_error(str("look at ", name));
    }
    if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)) continue;
    if (left-- == 0) return Error{Code::exhausted, "too many files in the folder"};
    const std::string below = path.empty() ? name : str(path, "/", name);
    if (S_ISDIR(info.st_mode)) {
      later.push_back(below);
      continue;
    }
    TRY(file, open_plain_at(folder->get(), name));
    if (file) TRY_DO(visit(below, *file));
  }
  if (errno != 0) return sys_error(str("list ", path));
  return ok;
}

}  // namespace

Result<Fd> open_folder(int root, const std::string& path, Missing missing) {
  TRY(parts, parts_of(path));
  return walk(root, parts, parts.size(), missing);
}

Result<void> write_new(int root, const std::string& path, std::string_view content, mode_t mode) {
  TRY(place, place_of(root, path, Missing::fail));
  return fill_new(place, place.name, [&](int file) { return write_all(file, content); }, mode);
}

Result<void> replace(int root, const std::string& path, Missing missing, const Fill& fill,
                     mode_t mode) {
  TRY(place, place_of(root, path, missing));
  const std::string unfinished = unfinished_name();
  auto written = fill_new(place, unfinished, fill, mode);
  if (written && ::renameat(place.folder.get(), unfinished.c_str(), place.folder.get(),
                            place.name.c_str()) < 0)
    written = sys_error(str("write ", path));
  if (!written) ::unlinkat(place.folder.get(), unfinished.c_str(), 0);
  return written;
}

Result<void> write_all(int file, std::string_view content) {
  while (!content.empty()) {
    ssize_t n = ::write(file, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error("write");
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return ok;
}

Result<std::optional<Fd>> open_plain(int root, const std::string& path) {
  auto place = place_of(root, path, Missing::fail);
  if (!place && place.error().code == Code::not_found) return std::nullopt;
  if (!place) return place.error();
  return open_plain_at(place->folder.get(), place->name);
}

Result<void> remove(int root, const std::string& path) {
  auto place = place_of(root, path, Missing::fail);
  if (!place) return place.error().code == Code::not_found ? ok : Result<void>(place.error());
  return remove_tree(place->folder.get(), place->name);
}

Result<void> each_file(int root, std::size_t most, const Visit& visit) {
  Parts later{""};
  while (!later.empty()) {
    const std::string path = std::move(later.back());
    later.pop_back();
    TRY_DO(visit_folder(root, path, most, visit, later));
  }
  return ok;
}

Result<std::string> hash_of(const Fd& file, const Sha256& sha256) {
  struct stat info{};
  if (::fstat(file.get(), &info) < 0) return sys_error("look at a file");
  if (static_cast<std::uint64_t>(info.st_size) <= kHashedWhole) {
    auto content = read_all(file.get(), kHashedWhole);
    if (content) return sha256(*content);
    if (content.error().code != Code::too_large) return content.error();
  }
  return sha256(str("large ", info.st_size, " ", info.st_mtim.tv_sec, " ", info.st_mtim.tv_nsec,
                    " ", info.st_ctim.tv_sec, " ", info.st_ctim.tv_nsec));
}

}  // namespace glovebox::sys::beneath

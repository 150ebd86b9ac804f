#include "runner/local_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/fd.h"
#include "base/random.h"
#include "base/str.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::runner {

namespace {

constexpr std::size_t kMaxFiles = 50'000;      // of a scan
constexpr std::size_t kHashedWhole = 2 << 20;  // larger is no memory: its times stand for it

using Parts = std::vector<std::string>;

template <class T>
Task<T> on(net::Pool& pool, std::function<Result<T>()> work) {
  // Shared: where the task is cancelled, the work runs on to its end without it.
  auto result = std::make_shared<std::optional<Result<T>>>();
  CO_TRY_DO(co_await pool.run([result, work = std::move(work)]() -> Result<void> {
    result->emplace(work());
    return ok;
  }));
  co_return std::move(**result);
}

enum class Missing { fail, create };

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

bool is_missing(const Error& error) { return error.code == Code::not_found; }

struct Place {
  Fd folder;
  std::string name;
};
Result<Place> place_of(int root, const std::string& path, Missing missing) {
  Parts parts = split(path, '/');
  for (const std::string& part : parts)
    if (part.empty() || part == "." || part == "..")
      return Error{Code::invalid, str(path, " is no clean path")};
  TRY(folder, walk(root, parts, parts.size() - 1, missing), path);
  return Place{std::move(folder), std::move(parts.back())};
}

Result<void> write_new(const Place& place, const std::string& name, std::string_view content,
                       mode_t mode) {
  Fd file(::openat(place.folder.get(), name.c_str(),
                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return sys_error(str("make ", name));
  while (!content.empty()) {
    ssize_t n = ::write(file.get(), content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error(str("write ", name));
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::fchmod(file.get(), mode) < 0) return sys_error(str("set the mode of ", name));
  return ok;
}

Result<void> remove_below(int root, const std::string& path) {
  auto place = place_of(root, path, Missing::fail);
  if (!place) return is_missing(place.error()) ? ok : Result<void>(place.error());
  return sys::remove_tree(place->folder.get(), place->name);
}

class LocalFiles : public Files {
 public:
  LocalFiles(net::Pool& pool, std::string root) : pool_(pool), root_(std::move(root)) {}

  Task<void> make_folder(std::string path) override {
    return below([path](int root) -> Result<void> {
      TRY(place, place_of(root, path, Missing::create));
      if (::mkdirat(place.folder.get(), place.name.c_str(), 0700) < 0 && errno != EEXIST)
        return sys_error(str("make ", path));
      TRY_DO(walk(place.folder.get(), {place.name}, 1, Missing::fail), path);
      return ok;
    });
  }
  Task<void> write_file(std::string path, std::string content, int mode) override {
    return below([path, content = std::move(content), mode](int root) -> Result<void> {
      TRY(place, place_of(root, path, Missing::fail));
      return write_new(place, place.name, content, static_cast<mode_t>(mode));
    });
  }
  Task<void> remove_tree(std::string path) override {
    return below([path](int root) { return remove_below(root, path); });
  }

 private:
  Task<void> below(std::function<Result<void>(int root)> work) {
    return pool_.run([root = root_, work = std::move(work)]() -> Result<void> {
      Fd at(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
      if (!at) return sys_error(str("open ", root));
      return work(at.get());
    });
  }
  net::Pool& pool_;
  const std::string root_;
};

// A plain file, open for reading; nothing else is ever opened, as a pipe would hang.
Result<std::optional<Fd>> open_plain(int folder, const std::string& name) {
  Fd file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) < 0) return sys_error(str("open ", name));
  if (!S_ISREG(info.st_mode)) return Error{Code::invalid, str(name, " is no plain file")};
  return std::optional<Fd>(std::move(file));
}

Result<std::string> hash_of(const Fd& file) {
  struct stat info{};
  if (::fstat(file.get(), &info) < 0) return sys_error("look at a file");
  if (static_cast<std::uint64_t>(info.st_size) <= kHashedWhole) {
    auto content = sys::read_all(file.get(), kHashedWhole);
    if (content) return sha256_hex(*content);
    if (content.error().code != Code::too_large) return content.error();
  }
  return sha256_hex(str("large ", info.st_size, " ", info.st_mtim.tv_sec, " ", info.st_mtim.tv_nsec,
                        " ", info.st_ctim.tv_sec, " ", info.st_ctim.tv_nsec));
}

// One folder of a scan: its files are hashed, its folders come later.
Result<void> scan_folder(int root, const std::string& path, Hashes& hashes,
                         std::vector<std::string>& later) {
  const Parts parts = path.empty() ? Parts{} : split(path, '/');
  auto folder = walk(root, parts, parts.size(), Missing::fail);
  if (!folder) return is_missing(folder.error()) ? ok : Result<void>(folder.error());
  Fd listed(::openat(folder->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!listed) return sys_error(str("list ", path));
  struct Close {
    void operator()(DIR* of) const { ::closedir(of); }
  };
  std::unique_ptr<DIR, Close> entries(::fdopendir(listed.get()));
  if (!entries) return sys_error(str("list ", path));
  (void)listed.release();  // is the list's now
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
    const std::string below = path.empty() ? name : str(path, "/", name);
    if (S_ISDIR(info.st_mode)) later.push_back(below);
    if (!S_ISREG(info.st_mode)) continue;
    if (hashes.size() + later.size() > kMaxFiles)
      return Error{Code::exhausted, "too many files in a memory store's folder"};
    TRY(file, open_plain(folder->get(), name));
    if (!file) continue;
    TRY(hash, hash_of(*file));
    hashes[below] = std::move(hash);
  }
  if (errno != 0) return sys_error(str("list ", path));
  return ok;
}

class LocalMemoryFolder : public MemoryFolder {
 public:
  LocalMemoryFolder(net::Pool& pool, std::string root) : pool_(pool), root_(std::move(root)) {}

  Task<bool> exists() override {
    return on<bool>(pool_, [root = root_]() -> Result<bool> {
      struct stat info{};
      if (::lstat(root.c_str(), &info) == 0) return true;
      if (errno == ENOENT) return false;
      return sys_error(str("look at ", root));
    });
  }
  Task<void> create() override {
    return pool_.run([root = root_] { return sys::make_dirs(root, 0700); });
  }
  Task<Hashes> scan() override {
    return on<Hashes>(pool_, [root = root_]() -> Result<Hashes> {
      Hashes hashes;
      auto at = open(root);
      if (!at && is_missing(at.error())) return hashes;
      if (!at) return at.error();
      std::vector<std::string> later{""};
      while (!later.empty()) {
        const std::string path = std::move(later.back());
        later.pop_back();
        TRY_DO(scan_folder(at->get(), path, hashes, later));
      }
      return hashes;
    });
  }
  Task<std::optional<std::string>> hash(std::string path) override {
    return with_file(std::move(path), hash_of);
  }
  Task<std::optional<std::string>> read(std::string path, std::size_t limit) override {
    return with_file(std::move(path),
                     [limit](const Fd& file) { return sys::read_all(file.get(), limit); });
  }
  Task<void> write(std::string path, std::string content) override {
    return pool_.run([root = root_, path, content = std::move(content)]() -> Result<void> {
      TRY(at, open(root));
      TRY(place, place_of(at.get(), path, Missing::create));
      const std::string unfinished = str(".fs-", unique(), ".tmp");
      auto written = write_new(place, unfinished, content, 0600);
      if (written && ::renameat(place.folder.get(), unfinished.c_str(), place.folder.get(),
                                place.name.c_str()) < 0)
        written = sys_error(str("write ", path));
      if (!written) ::unlinkat(place.folder.get(), unfinished.c_str(), 0);
      return written;
    });
  }
  Task<void> remove(std::string path) override {
    return pool_.run([root = root_, path]() -> Result<void> {
      auto at = open(root);
      if (!at) return is_missing(at.error()) ? ok : Result<void>(at.error());
      return remove_below(at->get(), path);
    });
  }
  Task<void> remove_all() override {
    return pool_.run([root = root_] { return sys::remove_tree(root); });
  }

 private:
  static Result<Fd> open(const std::string& root) {
    Fd at(::open(root.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!at) return sys_error(str("open ", root));
    return at;
  }
  static std::string unique() {
    const std::string bytes = random_bytes(8);
    return hex({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  }

  Task<std::optional<std::string>> with_file(
      std::string path, std::function<Result<std::string>(const Fd& file)> work) {
    using Found = std::optional<std::string>;
    return on<Found>(pool_, [root = root_, path, work]() -> Result<Found> {
      auto at = open(root);
      if (!at && is_missing(at.error())) return Found{};
      if (!at) return at.error();
      auto place = place_of(at->get(), path, Missing::fail);
      if (!place && is_missing(place.error())) return Found{};
      if (!place) return place.error();
      TRY(file, open_plain(place->folder.get(), place->name));
      if (!file) return Found{};
      TRY(found, work(*file), path);
      return Found(std::move(found));
    });
  }

  net::Pool& pool_;
  const std::string root_;
};

}  // namespace

std::shared_ptr<Files> local_files(net::Pool& pool, std::string work_directory) {
  return std::make_shared<LocalFiles>(pool, std::move(work_directory));
}

std::shared_ptr<MemoryFolder> local_memory_folder(net::Pool& pool, std::string root) {
  return std::make_shared<LocalMemoryFolder>(pool, std::move(root));
}

}  // namespace glovebox::runner

#include "runner/local_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>

#include "base/fd.h"
#include "base/str.h"
#include "net/task.h"
#include "sys/beneath.h"
#include "sys/tree.h"

namespace glovebox::runner {

namespace {

namespace beneath = sys::beneath;
using beneath::Missing;

constexpr std::size_t kMaxFiles = 50'000;  // of a scan

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

bool is_missing(const Error& error) { return error.code == Code::not_found; }

class LocalFiles : public Files {
 public:
  LocalFiles(net::Pool& pool, std::string root) : pool_(pool), root_(std::move(root)) {}

  Task<void> make_folder(std::string path) override {
    return below([path](int root) -> Result<void> {
      if (path.empty()) return Error{Code::invalid, "a folder without a name"};
      TRY_DO(beneath::open_folder(root, path, Missing::create), path);
      return ok;
    });
  }
  Task<void> write_file(std::string path, std::string content, int mode) override {
    return below([path, content = std::move(content), mode](int root) {
      return beneath::write_new(root, path, content, static_cast<mode_t>(mode));
    });
  }
  Task<void> remove_tree(std::string path) override {
    return below([path](int root) { return beneath::remove(root, path); });
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

// That a folder is ours is said by an attribute of it, that we live by a lock: the kernel takes it
// back however we end. Where a file system has no attributes nothing is taken over.
constexpr char kOurs[] = "user.glovebox.memory";

class LocalMemoryFolder : public MemoryFolder {
 public:
  LocalMemoryFolder(net::Pool& pool, std::string root)
      : pool_(pool), root_(std::move(root)), lock_(std::make_shared<Fd>()) {}

  Task<bool> exists() override {
    return on<bool>(pool_, [root = root_]() -> Result<bool> {
      struct stat info{};
      if (::lstat(root.c_str(), &info) == 0) return true;
      if (errno == ENOENT) return false;
      return sys_error(str("look at ", root));
    });
  }
  Task<bool> claim() override {
    return on<bool>(pool_, [root = root_, lock = lock_]() -> Result<bool> {
      Fd at(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!at || ::fgetxattr(at.get(), kOurs, nullptr, 0) < 0) return false;
      if (::flock(at.get(), LOCK_EX | LOCK_NB) < 0) return false;
      *lock = std::move(at);
      return true;
    });
  }
  Task<void> create() override {
    return pool_.run([root = root_, lock = lock_]() -> Result<void> {
      TRY_DO(sys::make_dirs(root, 0700));
      Fd at(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!at) return sys_error(str("open ", root));
      if (::flock(at.get(), LOCK_EX | LOCK_NB) == 0)
        (void)::fsetxattr(at.get(), kOurs, "1", 1, 0);  // the last thing: unlocked it says nothing
      *lock = std::move(at);
      return ok;
    });
  }
  Task<Hashes> scan() override {
    return on<Hashes>(pool_, [root = root_]() -> Result<Hashes> {
      Hashes hashes;
      auto at = open(root);
      if (!at && is_missing(at.error())) return hashes;
      if (!at) return at.error();
      TRY_DO(beneath::each_file(at->get(), kMaxFiles,
                                [&](const std::string& path, const Fd& file) -> Result<void> {
                                  TRY(hash, beneath::hash_of(file, sha256_hex), path);
                                  hashes[path] = std::move(hash);
                                  return ok;
                                }));
      return hashes;
    });
  }
  Task<std::optional<std::string>> hash(std::string path) override {
    return with_file(std::move(path),
                     [](const Fd& file) { return beneath::hash_of(file, sha256_hex); });
  }
  Task<std::optional<std::string>> read(std::string path, std::size_t limit) override {
    return with_file(std::move(path),
                     [limit](const Fd& file) { return sys::read_all(file.get(), limit); });
  }
  Task<void> write(std::string path, std::string content) override {
    return pool_.run([root = root_, path, content = std::move(content)]() -> Result<void> {
      TRY(at, open(root));
      return beneath::replace(
          at.get(), path, Missing::create,
          [&](int file) { return beneath::write_all(file, content); }, 0600);
    });
  }
  Task<void> remove(std::string path) override {
    return pool_.run([root = root_, path]() -> Result<void> {
      auto at = open(root);
      if (!at) return is_missing(at.error()) ? ok : Result<void>(at.error());
      return beneath::remove(at->get(), path);
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

  Task<std::optional<std::string>> with_file(
      std::string path, std::function<Result<std::string>(const Fd& file)> work) {
    using Found = std::optional<std::string>;
    return on<Found>(pool_, [root = root_, path, work]() -> Result<Found> {
      auto at = open(root);
      if (!at && is_missing(at.error())) return Found{};
      if (!at) return at.error();
      TRY(file, beneath::open_plain(at->get(), path));
      if (!file) return Found{};
      TRY(found, work(*file), path);
      return Found(std::move(found));
    });
  }

  net::Pool& pool_;
  const std::string root_;
  const std::shared_ptr<Fd> lock_;
};

}  // namespace

std::shared_ptr<Files> local_files(net::Pool& pool, std::string work_directory) {
  return std::make_shared<LocalFiles>(pool, std::move(work_directory));
}

std::shared_ptr<MemoryFolder> local_memory_folder(net::Pool& pool, std::string root) {
  return std::make_shared<LocalMemoryFolder>(pool, std::move(root));
}

}  // namespace glovebox::runner

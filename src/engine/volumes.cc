#include "engine/volumes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/fault.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/core.h"
#include "net/task.h"
#include "sys/btrfs.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace json = boost::json;

namespace {

constexpr store::Migration kMigrations[] = {{1, R"(
  CREATE TABLE volumes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    size_mb INTEGER NOT NULL,
    created_at INTEGER NOT NULL
  );
)"}};
constexpr std::size_t kMaxName = 128;
constexpr std::int64_t kMaxMb = 1 << 24;  // 16 TiB
constexpr std::int64_t kMaxVolumes = 10'000;

Volume read(const store::Statement& row) {
  return {row.text(0), row.text(1), row.integer(2), row.integer(3), {}};
}
constexpr std::string_view kColumns = "SELECT id, name, size_mb, created_at FROM volumes ";

Result<void> check_name(std::string_view name) {
  auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  bool fits = !name.empty() && name.size() <= kMaxName && letter(name[0]) &&
              std::ranges::all_of(
                  name, [&](char c) { return letter(c) || c == '-' || c == '_' || c == '.'; });
  if (!fits)
    return Error{Code::invalid, str("a volume's name has letters, digits and - _ . after a letter "
                                    "or digit, at most ",
                                    kMaxName)};
  return ok;
}

bool within(std::string_view path, std::string_view folder) {
  return path == folder || (path.starts_with(folder) && path[folder.size()] == '/');
}

}  // namespace

std::string encode(const Volume& volume) {
  return json::serialize(
      json::object{{"id", volume.id},
                   {"name", volume.name},
                   {"size_mb", volume.size_mb},
                   {"created_at", volume.created_at},
                   {"sandboxes", json::array(volume.users.begin(), volume.users.end())}});
}

Task<void> Volumes::open() {
  CO_TRY(found, store::Database::open(core_.path("volumes.db"), kMigrations));
  db_.emplace(std::move(found));
  CO_TRY_DO(sys::make_dirs(core_.path("pool/volumes"), 0700), "volumes");
  dir_.reset(::open(core_.path("pool/volumes").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir_) co_return sys_error("open volumes");
  // A directory without a row was never told of, or was deleted: a crash came between.
  Fd again(::openat(dir_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::unique_ptr<DIR, decltype([](DIR* stream) { ::closedir(stream); })> stream(
      ::fdopendir(again.get()));
  if (!stream) co_return sys_error("list volumes");
  (void)again.release();
  std::vector<std::string> strays;
  while (dirent* entry = ::readdir(stream.get())) {
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    CO_TRY(row, find(name));
    if (!row || row->id != name) strays.push_back(name);
  }
  for (const auto& stray : strays) {
    std::function<Result<void>()> remove = [this, stray] {
      return sys::remove_subvolume(dir_.get(), stray);
    };
    auto removed = co_await core_.pool.run(std::move(remove));
    if (!removed && removed.error().code == Code::cancelled) co_return removed;
    if (removed)  // one that stays is no reason not to start
      log::info("volume.stray_removed", {{"volume", stray}});
    else
      log::error("volume.stray", {{"volume", stray}, {"error", removed.error().what}});
  }
  co_return ok;
}

Result<std::optional<Volume>> Volumes::find(const std::string& id_or_name) {
  TRY(statement, db_->prepare(str(kColumns, "WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC")));
  statement.bind(id_or_name);
  TRY(found, statement.step());
  if (!found) return std::optional<Volume>();
  return std::optional(read(statement));
}

// Who has which: one pass over the boxes, however many volumes there are.
std::map<std::string, std::vector<std::string>> Volumes::users() const {
  std::map<std::string, std::vector<std::string>> users;
  for (const auto& [sandbox, box] : core_.boxes)
    for (const wire::FileSystem& fs : box->record.file_systems)
      if (auto& of = users[fs.id]; of.empty() || of.back() != sandbox) of.push_back(sandbox);
  return users;
}

Task<Volume> Volumes::create(std::string name, std::int64_t size_mb) {
  CO_TRY_DO(check_name(name));
  if (size_mb < 1 || size_mb > kMaxMb)
    co_return Error{Code::invalid, str("size_mb: must be from 1 to ", kMaxMb)};
  CO_TRY(there, find(name));
  if (there) co_return Error{Code::conflict, str("a volume named ", name, " exists"), "NAME_TAKEN"};
  CO_TRY(count, db_->prepare("SELECT count(*) FROM volumes"));
  CO_TRY_DO(count.step());
  if (count.integer(0) >= kMaxVolumes)
    co_return Error{Code::exhausted, "there are too many volumes"};
  CO_TRY_DO(core_.storage->check_room());
  Volume volume{"fs_" + random_id(20), std::move(name), size_mb, system_clock().unix_ms(), {}};
  std::function<Result<void>()> make = [this, volume]() -> Result<void> {
    TRY_DO(sys::make_subvolume(dir_.get(), volume.id));
    Fd dir(::openat(dir_.get(), volume.id.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Every user of every box that has it may write, and only to what is its own: as in /tmp.
    if (!dir || ::fchmod(dir.get(), 0777) < 0) return sys_error("open volume");
    TRY_DO(sys::limit_subvolume(dir.get(), static_cast<std::uint64_t>(volume.size_mb) << 20));
    return sys::commit(dir_.get());
  };
  CO_TRY_DO(co_await core_.pool.run(std::move(make)), "volume");
  CO_FAULT("volume.before_row");
  {
    CO_TRY(insert, db_->prepare("INSERT INTO volumes(id, name, size_mb, created_at) "
                                "VALUES (?, ?, ?, ?)"));
    insert.bind(volume.id, volume.name, volume.size_mb, volume.created_at);
    auto inserted = insert.run();
    if (!inserted) {  // somebody took the name meanwhile; the directory is a stray
      if (inserted.error().code == Code::conflict)
        co_return Error{Code::conflict, str("a volume named ", volume.name, " exists"),
                        "NAME_TAKEN"};
      co_return std::move(inserted.error());
    }
  }
  CO_FAULT("volume.after_row");
  std::function<Result<void>()> sync = [this] { return db_->sync(); };
  CO_TRY_DO(co_await core_.pool.run(std::move(sync)));
  log::info("volume.created", {{"volume", volume.id}, {"name", volume.name}});
  co_return volume;
}

Result<Volume> Volumes::get(const std::string& id_or_name) {
  TRY(found, find(id_or_name));
  if (!found)
    return Error{Code::not_found, str("no volume ", valid_utf8(id_or_name)),
                 "FILE_SYSTEM_NOT_FOUND"};
  found->users = users()[found->id];
  return std::move(*found);
}

Result<std::vector<Volume>> Volumes::list() {
  TRY(statement, db_->prepare(str(kColumns, "ORDER BY created_at DESC, id")));
  auto used = users();
  std::vector<Volume> volumes;
  for (;;) {
    TRY(more, statement.step());
    if (!more) break;
    volumes.push_back(read(statement));
    volumes.back().users = std::move(used[volumes.back().id]);
  }
  return volumes;
}

Task<void> Volumes::remove(std::string id_or_name) {
  CO_TRY(volume, get(id_or_name));
  if (!volume.users.empty())
    co_return Error{
        Code::conflict,
        str("volume ", volume.name, " is in use by ", volume.users.size(),
            volume.users.size() == 1 ? " sandbox" : " sandboxes", ": ", volume.users.front()),
        "FILE_SYSTEM_IN_USE"};
  {
    CO_TRY(statement, db_->prepare("DELETE FROM volumes WHERE id = ?"));
    statement.bind(volume.id);
    CO_TRY_DO(statement.run());
  }
  CO_FAULT("volume.remove.after_row");
  std::function<Result<void>()> remove = [this, id = volume.id]() -> Result<void> {
    TRY_DO(db_->sync());
    return sys::remove_subvolume(dir_.get(), id);
  };
  CO_TRY_DO(co_await core_.pool.run(std::move(remove)), "remove volume");
  log::info("volume.removed", {{"volume", volume.id}, {"name", volume.name}});
  co_return ok;
}

Result<std::string> Volumes::clean(const std::string& mount_path) {
  std::string out;
  for (const auto& part : split(mount_path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..")
      return Error{Code::invalid, str("mount_path ", mount_path, ": leads upwards")};
    out += "/" + part;
  }
  return out;
}

Result<std::vector<wire::FileSystem>> Volumes::check(const std::vector<wire::FileSystem>& wanted,
                                                     bool usr_is_the_hosts) {
  std::vector<wire::FileSystem> out;
  for (const wire::FileSystem& fs : wanted) {
    auto volume = get(fs.id);
    if (!volume) {
      volume.error().code =
          volume.error().code == Code::not_found ? Code::invalid : volume.error().code;
      return std::move(volume.error());
    }
    TRY(path, clean(fs.mount_path));
    if (path.empty()) return Error{Code::invalid, "mount_path: the root is no place for a volume"};
    for (std::string_view own : {"/proc", "/sys", "/dev", "/usr"})
      if (within(path, own) && (own != "/usr" || usr_is_the_hosts))
        return Error{Code::invalid,
                     str("mount_path ", path, ": ", own, " is not to be mounted over")};
    for (const auto& other : out)
      if (within(path, other.mount_path) || within(other.mount_path, path))
        return Error{Code::invalid, str("mount_path ", path,
                                        ": is within, or is, that of another "
                                        "volume")};
    out.push_back({volume->id, path, fs.read_only});
  }
  return out;
}

}  // namespace glovebox::engine

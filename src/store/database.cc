#include "store/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cassert>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <unordered_map>

#include "base/fd.h"
#include "base/log.h"

namespace glovebox::store {

namespace {

constexpr int kBusyMs = 5000;  // an engine that is dying may hold the database a moment longer
constexpr std::size_t kCachedStatements = 256;

Error sql_error(sqlite3* db, int status, std::string_view doing) {
  Code code = Code::internal;
  switch (status & 0xff) {  // the low byte is the primary code
    case SQLITE_CONSTRAINT: code = Code::conflict; break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: code = Code::unavailable; break;
    case SQLITE_FULL: code = Code::exhausted; break;
    default: break;
  }
  // The connection's text is of its last call; a failed bind may lie further back.
  const char* text =
      sqlite3_extended_errcode(db) == status ? sqlite3_errmsg(db) : sqlite3_errstr(status);
  return Error{code, str(doing, ": ", text)};
}

struct CloseDb {
  void operator()(sqlite3* db) const {
    // Closing the last connection checkpoints, which writes and syncs; failing is no loss, the log
    // is read at the next open.
    if (int status = sqlite3_close(db); status != SQLITE_OK)
      log::error("store.close_failed", {{"reason", sqlite3_errstr(status)}});
  }
};
struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using OwnedStatement = std::unique_ptr<sqlite3_stmt, Finalize>;

struct Cached {
  OwnedStatement statement;
  bool borrowed = false;
};

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};

// Makes a file's name durable: the file's own sync does not.
Result<void> sync_folder_of(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return sys_error(str("open ", folder));
  if (::fsync(fd.get()) != 0) return sys_error(str("sync ", folder));
  return ok;
}

}  // namespace

struct Database::Impl {
  std::unique_ptr<sqlite3, CloseDb> db;  // first: statements go before it
  std::unordered_map<std::string, Cached, TextHash, std::equal_to<>>
      cache;  // its nodes stay where they are
  Fd wal;  // SQLite holds no locks on the log, so a descriptor of our own does no harm when closed

  std::mutex mutex;  // of all below
  std::condition_variable synced;
  std::uint64_t asked = 0, done = 0;  // syncs asked for; how many of those are served
  bool syncing = false;
  std::optional<Error> failure;
};

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

static Result<void> migrate(Database& db, std::span<const Migration> migrations) {
  TRY(query, db.prepare("PRAGMA user_version"));
  TRY_DO(query.step());
  std::int64_t version = query.integer(0);
  const auto newest = static_cast<std::int64_t>(migrations.size());
  if (version > newest)
    return Error{Code::unsupported, str("the database is of version ", version,
                                        ", this program knows up to ", newest)};
  for (const Migration& migration : migrations.subspan(static_cast<std::size_t>(version))) {
    assert(migration.version == version + 1);  // 1, 2, 3 … without a hole
    TRY(transaction, db.begin());
    TRY_DO(db.exec(migration.sql), "migration ", migration.version);
    TRY_DO(db.exec(str("PRAGMA user_version = ", migration.version)));
    TRY_DO(transaction.commit(), "migration ", migration.version);
    version = migration.version;
  }
  return ok;
}

Result<Database> Database::open(const std::string& path, std::span<const Migration> migrations) {
  sqlite3* raw = nullptr;
  int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  int status = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  auto impl = std::make_unique<Impl>();
  impl->db.reset(raw);  // also after a failure there is something to close
  if (status != SQLITE_OK)
    return Error{Code::internal, str("open ", path, ": ", sqlite3_errstr(status))};
  sqlite3_busy_timeout(raw, kBusyMs);
  Database db(std::move(impl));
  // NORMAL: a commit is one write to the log without a sync (see sync()); checkpoints sync for
  // themselves.
  TRY_DO(db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
                 "PRAGMA trusted_schema = OFF"),
         "open ", path);
  TRY_DO(migrate(db, migrations), "open ", path);
  if (path == ":memory:") return db;

  // The log is made by the first access in WAL mode and stays until the last connection closes.
  db.impl_->wal.reset(::open((path + "-wal").c_str(), O_RDWR | O_CLOEXEC));
  if (!db.impl_->wal) return sys_error(str("open ", path, "-wal"));
  TRY_DO(sync_folder_of(path));
  return db;
}

Result<void> Database::exec(std::string_view sql) {
  sqlite3* db = impl_->db.get();
  int status = sqlite3_exec(db, std::string(sql).c_str(), nullptr, nullptr, nullptr);
  if (status != SQLITE_OK) return sql_error(db, status, "execute");
  return ok;
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3* db = impl_->db.get();
  auto found = impl_->cache.find(sql);
  if (found != impl_->cache.end() && !found->second.borrowed) {
    found->second.borrowed = true;
    return Statement(found->second.statement.get(), db, &found->second.borrowed);
  }
  sqlite3_stmt* raw = nullptr;
  const char* tail = nullptr;
  int status = sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()),
                                  SQLITE_PREPARE_PERSISTENT, &raw, &tail);
  OwnedStatement statement(raw);
  if (status != SQLITE_OK) return sql_error(db, status, str("prepare `", sql, '`'));
  if (!raw || tail != sql.data() + sql.size())
    return Error{Code::internal, str("prepare `", sql, "`: not exactly one statement")};
  // The same text is in use further up the stack, or somebody builds texts by the hundred: then it
  // is not kept.
  if (found != impl_->cache.end() || impl_->cache.size() >= kCachedStatements)
    return Statement(statement.release(), db, nullptr);
  Cached& kept = impl_->cache[std::string(sql)];
  kept = {std::move(statement), true};
  return Statement(kept.statement.get(), db, &kept.borrowed);
}

Result<Database::Transaction> Database::begin() {
  // IMMEDIATE: fails here and not at the first write in the middle.
  TRY_DO(exec("BEGIN IMMEDIATE"));
  return Transaction(impl_->db.get());
}

Database::Transaction::Transaction(Transaction&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)) {}

Database::Transaction::~Transaction() {
  if (!db_ || sqlite3_get_autocommit(db_))
    return;  // some errors (a full disk) have rolled back already
  if (int status = sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr); status != SQLITE_OK)
    log::error("store.rollback_failed", {{"reason", sqlite3_errstr(status)}});
}

Result<void> Database::Transaction::commit() {
  assert(db_);
  if (int status = sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr); status != SQLITE_OK)
    return sql_error(db_, status, "commit");
  db_ = nullptr;
  return ok;
}

Result<void> Database::sync() const {
  Impl& self = *impl_;
  if (!self.wal) return ok;  // in memory
  std::unique_lock lock(self.mutex);
  const std::uint64_t mine = ++self.asked;
  while (self.done < mine && !self.failure) {
    if (self.syncing) {  // it began before we asked and may have missed our commit
      self.synced.wait(lock);
      continue;
    }
    self.syncing = true;
    const std::uint64_t serves = self.asked;
    lock.unlock();
    int failed = ::fdatasync(self.wal.get()) == 0 ? 0 : errno;
    lock.lock();
    self.syncing = false;
    self.done = serves;
    if (failed) self.failure = sys_error("sync the write-ahead log", failed);
    self.synced.notify_all();
  }
  if (self.failure) return *self.failure;
  return ok;
}

Statement::Statement(Statement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)),
      db_(other.db_),
      borrowed_(other.borrowed_),
      next_(other.next_),
      bind_status_(other.bind_status_) {}

Statement::~Statement() {
  if (!statement_) return;
  if (!borrowed_) {
    sqlite3_finalize(statement_);
    return;
  }
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  *borrowed_ = false;
}

static void note(int status, int& first) {
  if (first == SQLITE_OK) first = status;
}

void Statement::bind_one(std::int64_t value) {
  note(sqlite3_bind_int64(statement_, next_++, value), bind_status_);
}
void Statement::bind_one(double value) {
  note(sqlite3_bind_double(statement_, next_++, value), bind_status_);
}
void Statement::bind_one(std::string_view value) {
  const char* data = value.data() ? value.data() : "";  // a null pointer would bind NULL
  note(sqlite3_bind_text64(statement_, next_++, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8),
       bind_status_);
}
void Statement::bind_one(std::nullopt_t) {
  note(sqlite3_bind_null(statement_, next_++), bind_status_);
}

Result<bool> Statement::step() {
  if (bind_status_ != SQLITE_OK) return sql_error(db_, bind_status_, sqlite3_sql(statement_));
  int status = sqlite3_step(statement_);
  if (status == SQLITE_ROW) return true;
  if (status == SQLITE_DONE) return false;
  return sql_error(db_, status, sqlite3_sql(statement_));
}

Result<void> Statement::run() {
  Result<bool> row = true;
  while (row && *row) row = step();
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  next_ = 1;
  bind_status_ = SQLITE_OK;
  if (!row) return std::move(row.error());
  return ok;
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}
double Statement::real(int column) const { return sqlite3_column_double(statement_, column); }
std::string Statement::text(int column) const {
  // Text first, its size second: SQLite's order for a value that has to be converted.
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return bytes ? std::string(bytes,
                             static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)))
               : "";
}
bool Statement::null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

}  // namespace glovebox::store

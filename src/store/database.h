// SQLite (WAL) behind an owner: statements, transactions, migrations. Calls are short and run on
// the loop's thread; what must survive a power cut waits for sync(), which many callers share
// (group commit). Against kill -9 a commit alone is enough.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

struct sqlite3;
struct sqlite3_stmt;

namespace glovebox::store {

class Statement {  // borrowed from the Database's cache: reset when this goes
 public:
  Statement(Statement&&) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();
  template <class... Values>
  Statement& bind(
      const Values&... values) {  // from left to right, going on where the last call ended
    (bind_one(values), ...);
    return *this;
  }
  Result<bool> step();  // true: a row is there. Code::conflict where a constraint says no
  Result<void> run();   // to the end, no rows wanted; then it can be bound and run again
  std::int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;
  bool null(int column) const;

 private:
  friend class Database;
  // `borrowed` is the cache's mark that the statement is in use; without one the statement is ours
  // alone.
  explicit Statement(sqlite3_stmt* statement, sqlite3* db, bool* borrowed)
      : statement_(statement), db_(db), borrowed_(borrowed) {}
  void bind_one(std::int64_t value);
  void bind_one(int value) { bind_one(static_cast<std::int64_t>(value)); }
  void bind_one(std::uint64_t value) { bind_one(static_cast<std::int64_t>(value)); }
  void bind_one(bool value) { bind_one(static_cast<std::int64_t>(value)); }
  void bind_one(double value);
  void bind_one(std::string_view value);
  void bind_one(const std::string& value) { bind_one(std::string_view(value)); }
  void bind_one(const char* value) { bind_one(std::string_view(value)); }
  void bind_one(std::nullopt_t);
  sqlite3_stmt* statement_;
  sqlite3* db_;
  bool* borrowed_;
  int next_ = 1;
  int bind_status_ = 0;  // the first failed bind; told by step()
};

struct Migration {
  int version;  // 1, 2, 3 …
  const char* sql;
};

class Database {
 public:
  // ":memory:" for tests. Applies what is missing of `migrations`, in one transaction each; a newer
  // database is refused.
  static Result<Database> open(const std::string& path, std::span<const Migration> migrations);
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();
  Result<Statement> prepare(
      std::string_view sql);  // one statement, cached by text; must go before the Database
  Result<void> exec(std::string_view sql);

  class Transaction {  // rolled back unless committed; must go before the Database
   public:
    Transaction(Transaction&&) noexcept;
    ~Transaction();
    Result<void> commit();

   private:
    friend class Database;
    explicit Transaction(sqlite3* db) : db_(db) {}
    sqlite3* db_;
  };
  Result<Transaction> begin();
  // fdatasync of the write-ahead log: blocking, for the pool. Safe beside the loop's thread.
  // Callers that wait together are served by one fdatasync. After a failed one every later call
  // fails too: what the kernel dropped is not coming back.
  Result<void> sync() const;

 private:
  struct Impl;
  explicit Database(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace glovebox::store

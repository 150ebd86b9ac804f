// SQLite (WAL) behind an owner: statements, transactions, migrations. Calls are short and run on the loop's thread; what must
// survive a power cut waits for sync(), which many callers share (group commit). Against kill -9 a commit alone is enough.
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
  Statement& bind(const Values&... values) {
    (bind_one(values), ...);
    return *this;
  }
  Result<bool> step();  // true: a row is there
  Result<void> run();   // to the end, no rows wanted
  std::int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;
  bool null(int column) const;

 private:
  friend class Database;
  explicit Statement(sqlite3_stmt* statement, sqlite3* db) : statement_(statement), db_(db) {}
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
  int next_ = 1;
};

struct Migration {
  int version;  // 1, 2, 3 …
  const char* sql;
};

class Database {
 public:
  // ":memory:" for tests. Applies what is missing of `migrations`, in one transaction each; a newer database is refused.
  static Result<Database> open(const std::string& path, std::span<const Migration> migrations);
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();
  Result<Statement> prepare(std::string_view sql);  // cached by text
  Result<void> exec(std::string_view sql);

  class Transaction {  // rolled back unless committed
   public:
    Transaction(Transaction&&) noexcept;
    ~Transaction();
    Result<void> commit();

   private:
    friend class Database;
    explicit Transaction(Database* db) : db_(db) {}
    Database* db_;
  };
  Result<Transaction> begin();
  // fdatasync of the write-ahead log: blocking, for the pool. Safe beside the loop's thread.
  Result<void> sync() const;

 private:
  struct Impl;
  explicit Database(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace glovebox::store

// What the engine remembers of its sandboxes, in SQLite. Disk first: a record is here before the
// kernel holds anything of its box, and is `cleaned` only after the kernel holds nothing of it any
// more.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "store/database.h"
#include "wire/sandbox.h"

namespace glovebox::engine {

// In place of what a sandbox was started with, where an engine of before did not note it; until it
// is started again.
inline constexpr const char* kUnknown = "unknown";

struct Row {
  wire::SandboxRecord record;
  uid_t base = 0;  // first of the box's user ids, until it is cleaned
  bool cleaned = false;
};

class Records {
 public:
  static Result<Records> open(const std::string& path);  // ":memory:" for tests
  Result<void> insert(const Row& row);
  Result<void> save(const wire::SandboxRecord& record);
  Result<void> mark_cleaned(const std::string& id);
  // By id, else by the name of one that is not terminated.
  Result<wire::SandboxRecord> find(const std::string& id_or_name);
  Result<std::uint64_t> next_generation(
      const std::string& name);                   // of a name used before; 1 for a new one
  Result<ListPage> list(const ListQuery& query);  // newest first
  Result<std::vector<Row>> uncleaned();
  Result<void> forget_terminated_before(std::int64_t unix_ms);
  store::Database& database() { return db_; }  // for tables of other parts of the engine
  Result<void> set_base(const std::string& id, uid_t base);
  Result<void> sync() const { return db_.sync(); }

 private:
  explicit Records(store::Database db) : db_(std::move(db)) {}
  store::Database db_;
};

}  // namespace glovebox::engine

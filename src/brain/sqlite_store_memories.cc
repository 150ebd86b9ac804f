#include "brain/sqlite_store.h"
#include "brain/sqlite_text.h"

namespace glovebox::brain {
namespace {

constexpr std::string_view kStoreColumns =
    "number, id, name, description, metadata, created_at, updated_at, archived_at "
    "FROM memory_stores";

Listed<MemoryStoreRow> store_of(const store::Statement& query) {
  return {query.integer(0), MemoryStoreRow{.id = query.text(1),
                                           .name = query.text(2),
                                           .description = query.text(3),
                                           .metadata = query.text(4),
                                           .created_at = query.integer(5),
                                           .updated_at = query.integer(6),
                                           .archived_at = query.integer(7)}};
}

// The text is the last column of its table: lists without it do not read its pages.
std::string memory_columns(bool with_content) {
  return str(
      "SELECT m.id, m.store_id, m.path, v.id, v.sha256, v.size, m.created_at, m.updated_at, ",
      with_content ? "v.content" : "NULL",
      " FROM memories m JOIN memory_versions v ON v.number = m.version WHERE m.store_id = ?");
}

MemoryRow memory_of(const store::Statement& query) {
  MemoryRow row{.id = query.text(0),
                .store_id = query.text(1),
                .path = query.text(2),
                .version_id = query.text(3),
                .sha256 = query.text(4),
                .size = query.integer(5),
                .created_at = query.integer(6),
                .updated_at = query.integer(7)};
  if (!query.null(8)) row.content = query.text(8);
  return row;
}

std::string version_columns(bool with_content) {
  return str("SELECT number, id, store_id, memory_id, operation, path, sha256, size, actor_type, ",
             "actor_id, created_at, redactor_type, redactor_id, redacted_at, ",
             with_content ? "content" : "NULL", " FROM memory_versions WHERE store_id = ?");
}

Listed<MemoryVersionRow> version_of(const store::Statement& query) {
  MemoryVersionRow row{.id = query.text(1),
                       .store_id = query.text(2),
                       .memory_id = query.text(3),
                       .operation = query.text(4),
                       .path = query.text(5),
                       .sha256 = query.text(6),
                       .size = query.integer(7),
                       .by = {query.text(8), query.text(9)},
                       .created_at = query.integer(10),
                       .redacted_by = {query.text(11), query.text(12)},
                       .redacted_at = query.integer(13)};
  if (!query.null(14)) row.content = query.text(14);
  return {query.integer(0), std::move(row)};
}

Result<void> add_version(store::Database& db, const MemoryVersionRow& row) {
  TRY(statement, db.prepare("INSERT INTO memory_versions(id, store_id, memory_id, operation, path, "
                            "sha256, size, actor_type, actor_id, created_at, redactor_type, "
                            "redactor_id, redacted_at, content) "
                            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '', 0, ?)"));
  statement.bind(row.id, row.store_id, row.memory_id, row.operation, row.path, row.sha256, row.size,
                 row.by.type, row.by.id, row.created_at);
  if (row.content)
    statement.bind(*row.content);
  else
    statement.bind(std::nullopt);
  return statement.run();
}

MemoryVersionRow version_with(const MemoryRow& row, std::string operation, const MemoryActor& by) {
  return {.id = row.version_id,
          .store_id = row.store_id,
          .memory_id = row.id,
          .operation = std::move(operation),
          .path = row.path,
          .sha256 = row.sha256,
          .size = row.size,
          .content = row.content,
          .by = by,
          .created_at = row.updated_at};
}

Error no_memory(std::string_view id) {
  return Error{Code::not_found, str("there is no memory ", id)};
}
Error no_version(std::string_view id) {
  return Error{Code::not_found, str("there is no memory version ", id)};
}

}  // namespace

Result<void> SqliteStore::add_memory_store(const MemoryStoreRow& row) {
  TRY(statement, db_.prepare("INSERT INTO memory_stores(id, name, description, metadata, "
                             "created_at, updated_at, archived_at) VALUES (?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(row.id, row.name, row.description, row.metadata, row.created_at, row.updated_at,
                 row.archived_at);
  return statement.run();
}

Result<MemoryStoreRow> SqliteStore::memory_store(std::string_view id) {
  TRY(query, db_.prepare(str("SELECT ", kStoreColumns, " WHERE id = ?")));
  TRY(found, query.bind(id).step());
  if (!found) return Error{Code::not_found, str("there is no memory store ", id)};
  return store_of(query).row;
}

Result<void> SqliteStore::save_memory_store(const MemoryStoreRow& row) {
  TRY(statement, db_.prepare("UPDATE memory_stores SET name = ?, description = ?, metadata = ?, "
                             "updated_at = ?, archived_at = ? WHERE id = ?"));
  statement.bind(row.name, row.description, row.metadata, row.updated_at, row.archived_at, row.id);
  return statement.run();
}

Result<void> SqliteStore::remove_memory_store(std::string_view id) {
  return atomically([&]() -> Result<void> {
    for (auto sql :
         {"DELETE FROM memory_stores WHERE id = ?", "DELETE FROM memories WHERE store_id = ?",
          "DELETE FROM memory_versions WHERE store_id = ?"}) {
      TRY(statement, db_.prepare(sql));
      TRY_DO(statement.bind(id).run());
    }
    return ok;
  });
}

Result<std::vector<Listed<MemoryStoreRow>>> SqliteStore::memory_stores(const ListQuery& query) {
  TRY(statement, db_.prepare(str("SELECT ", kStoreColumns, " WHERE ", list_conditions("", query),
                                 list_order("", query))));
  bind_list(statement, query);
  statement.bind(query.limit);
  return rows_of<MemoryStoreRow>(statement, store_of);
}

Result<MemoryRow> SqliteStore::memory(std::string_view store, std::string_view id,
                                      bool with_content) {
  TRY(query, db_.prepare(memory_columns(with_content) + " AND m.id = ?"));
  TRY(found, query.bind(store, id).step());
  if (!found) return no_memory(id);
  return memory_of(query);
}

Result<std::vector<MemoryRow>> SqliteStore::memories(std::string_view store,
                                                     const MemoryQuery& query) {
  TRY(statement, db_.prepare(memory_columns(query.with_content) +
                             " AND m.path > ? AND m.path < ? ORDER BY m.path LIMIT ?"));
  // What begins with "/a/" comes before "/a0", since '0' follows '/'.
  std::string end = query.prefix;
  end.back() = '0';
  statement.bind(store, std::max(query.prefix, query.after), end, query.limit);
  std::vector<MemoryRow> rows;
  for (;;) {
    TRY(more, statement.step());
    if (!more) return rows;
    rows.push_back(memory_of(statement));
  }
}

Result<std::int64_t> SqliteStore::count_memories(std::string_view store) {
  TRY(query, db_.prepare("SELECT count(*) FROM memories WHERE store_id = ?"));
  TRY_DO(query.bind(store).step());
  return query.integer(0);
}

Result<std::optional<MemoryRow>> SqliteStore::memory_in_the_way(std::string_view store,
                                                                std::string_view path,
                                                                std::string_view except) {
  std::vector<std::string> same_or_above{std::string(path)};
  for (auto slash = path.rfind('/'); slash != path.npos && slash > 0;
       slash = path.rfind('/', slash - 1))
    same_or_above.emplace_back(path.substr(0, slash));
  TRY(above, db_.prepare(memory_columns(false) +
                         " AND m.id <> ? AND m.path IN (SELECT value FROM json_each(?)) LIMIT 1"));
  TRY(found_above, above.bind(store, except, json_list(same_or_above)).step());
  if (found_above) return memory_of(above);
  TRY(below, db_.prepare(memory_columns(false) +
                         " AND m.id <> ? AND m.path > ? AND m.path < ? ORDER BY m.path LIMIT 1"));
  TRY(found_below, below.bind(store, except, str(path, '/'), str(path, '0')).step());
  if (!found_below) return std::nullopt;
  return memory_of(below);
}

Result<void> SqliteStore::add_memory(const MemoryRow& row, const MemoryActor& by) {
  return atomically([&]() -> Result<void> {
    TRY_DO(add_version(db_, version_with(row, "created", by)));
    TRY(statement, db_.prepare("INSERT INTO memories(id, store_id, path, version, created_at, "
                               "updated_at) VALUES (?, ?, ?, (SELECT number FROM memory_versions "
                               "WHERE id = ?), ?, ?)"));
    statement.bind(row.id, row.store_id, row.path, row.version_id, row.created_at, row.updated_at);
    return statement.run();
  });
}

Result<void> SqliteStore::change_memory(const MemoryRow& row, const MemoryActor& by) {
  return atomically([&]() -> Result<void> {
    TRY_DO(add_version(db_, version_with(row, "modified", by)));
    TRY(statement, db_.prepare("UPDATE memories SET path = ?, version = (SELECT number FROM "
                               "memory_versions WHERE id = ?), updated_at = ? WHERE id = ?"));
    return statement.bind(row.path, row.version_id, row.updated_at, row.id).run();
  });
}

Result<void> SqliteStore::remove_memory(const MemoryRow& row, std::string_view version_id,
                                        const MemoryActor& by, Micros at) {
  return atomically([&]() -> Result<void> {
    TRY_DO(add_version(db_, {.id = std::string(version_id),
                             .store_id = row.store_id,
                             .memory_id = row.id,
                             .operation = "deleted",
                             .path = row.path,
                             .by = by,
                             .created_at = at}));
    TRY(statement, db_.prepare("DELETE FROM memories WHERE id = ?"));
    return statement.bind(row.id).run();
  });
}

Result<MemoryVersionRow> SqliteStore::memory_version(std::string_view store, std::string_view id,
                                                     bool with_content) {
  TRY(query, db_.prepare(version_columns(with_content) + " AND id = ?"));
  TRY(found, query.bind(store, id).step());
  if (!found) return no_version(id);
  return version_of(query).row;
}

Result<std::vector<Listed<MemoryVersionRow>>> SqliteStore::memory_versions(
    std::string_view store, const MemoryVersionQuery& query) {
  ListQuery list = query;
  list.include_archived = true;  // versions are not archived
  std::string sql = version_columns(query.with_content) + " AND " + list_conditions("", list);
  if (!query.memory_id.empty()) sql += " AND memory_id = ?";
  if (!query.operation.empty()) sql += " AND operation = ?";
  if (!query.actor_type.empty()) sql += " AND actor_type = ? AND actor_id = ?";
  TRY(statement, db_.prepare(sql + list_order("", list)));
  statement.bind(store);
  bind_list(statement, list);
  if (!query.memory_id.empty()) statement.bind(query.memory_id);
  if (!query.operation.empty()) statement.bind(query.operation);
  if (!query.actor_type.empty()) statement.bind(query.actor_type, query.actor_id);
  statement.bind(query.limit);
  return rows_of<MemoryVersionRow>(statement, version_of);
}

Result<void> SqliteStore::redact_memory_version(std::string_view store, std::string_view id,
                                                const MemoryActor& by, Micros at) {
  TRY(head, db_.prepare("SELECT EXISTS (SELECT 1 FROM memories m WHERE m.version = v.number) "
                        "FROM memory_versions v WHERE v.store_id = ? AND v.id = ?"));
  TRY(found, head.bind(store, id).step());
  if (!found) return no_version(id);
  if (head.integer(0))
    return Error{Code::invalid,
                 str("version ", id, " is what its memory has now: change or delete that first")};
  TRY(statement,
      db_.prepare("UPDATE memory_versions SET path = '', sha256 = '', size = 0, content = NULL, "
                  "redactor_type = ?, redactor_id = ?, redacted_at = ? "
                  "WHERE store_id = ? AND id = ? AND redacted_at = 0"));
  return statement.bind(by.type, by.id, at, store, id).run();
}

Result<void> SqliteStore::sweep_memory_versions(Micros before) {
  TRY(statement,
      db_.prepare("DELETE FROM memory_versions WHERE created_at < ? AND NOT EXISTS "
                  "(SELECT 1 FROM memories m WHERE m.version = memory_versions.number)"));
  return statement.bind(before).run();
}

}  // namespace glovebox::brain

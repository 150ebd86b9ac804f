#include "brain/sqlite_store.h"
#include "brain/sqlite_text.h"

namespace glovebox::brain {
namespace {

constexpr std::string_view kColumns =
    "number, id, name, description, metadata, scope, created_at, updated_at, archived_at "
    "FROM environments";

Listed<EnvironmentRow> row_of(const store::Statement& query) {
  EnvironmentRow row{.id = query.text(1),
                     .name = query.text(2),
                     .metadata = query.text(4),
                     .scope = query.text(5),
                     .created_at = query.integer(6),
                     .updated_at = query.integer(7),
                     .archived_at = query.integer(8)};
  if (!query.null(3)) row.description = query.text(3);
  return {query.integer(0), std::move(row)};
}

constexpr std::string_view kKeyColumns =
    "id, environment_id, name, hash, hint, embedded, created_at, revoked_at FROM keys";

KeyRow key_of(const store::Statement& query) {
  return KeyRow{.id = query.text(0),
                .environment_id = query.text(1),
                .name = query.text(2),
                .hash = query.text(3),
                .hint = query.text(4),
                .embedded = query.integer(5) != 0,
                .created_at = query.integer(6),
                .revoked_at = query.integer(7)};
}

void bind_description(store::Statement& statement, const EnvironmentRow& row) {
  if (row.description)
    statement.bind(*row.description);
  else
    statement.bind(std::nullopt);
}

// The one constraint that a client can run into.
Result<void> name_taken(Result<void> saved, const EnvironmentRow& row) {
  if (!saved && saved.error().code == Code::conflict)
    return Error{Code::conflict, str("name: there is an environment \"", row.name, "\" already")};
  return saved;
}

}  // namespace

Result<void> SqliteStore::add_environment(const EnvironmentRow& row) {
  TRY(statement, db_.prepare("INSERT INTO environments(id, name, description, metadata, scope, "
                             "created_at, updated_at, archived_at) "
                             "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(row.id, row.name);
  bind_description(statement, row);
  statement.bind(row.metadata, row.scope, row.created_at, row.updated_at, row.archived_at);
  return name_taken(statement.run(), row);
}

Result<EnvironmentRow> SqliteStore::environment(std::string_view id) {
  TRY(query, db_.prepare(str("SELECT ", kColumns, " WHERE id = ?")));
  TRY(found, query.bind(id).step());
  if (found) return row_of(query).row;
  return Error{Code::not_found, str("there is no environment ", id), "environment_not_found"};
}

Result<void> SqliteStore::save_environment(const EnvironmentRow& row) {
  TRY(statement, db_.prepare("UPDATE environments SET name = ?, description = ?, metadata = ?, "
                             "scope = ?, updated_at = ?, archived_at = ? WHERE id = ?"));
  statement.bind(row.name);
  bind_description(statement, row);
  statement.bind(row.metadata, row.scope, row.updated_at, row.archived_at, row.id);
  return name_taken(statement.run(), row);
}

Result<void> SqliteStore::remove_environment(std::string_view id) {
  return atomically([&]() -> Result<void> {
    for (auto sql :
         {"DELETE FROM environments WHERE id = ?", "DELETE FROM keys WHERE environment_id = ?"}) {
      TRY(statement, db_.prepare(sql));
      TRY_DO(statement.bind(id).run());
    }
    return ok;
  });
}

Result<std::vector<Listed<EnvironmentRow>>> SqliteStore::environments(const ListQuery& query) {
  TRY(statement, db_.prepare(str("SELECT ", kColumns, " WHERE ", list_conditions("", query),
                                 list_order("", query))));
  bind_list(statement, query);
  statement.bind(query.limit);
  return rows_of<EnvironmentRow>(statement, row_of);
}

Result<bool> SqliteStore::has_sessions(std::string_view environment) {
  TRY(query, db_.prepare("SELECT 1 FROM sessions WHERE environment_id = ? LIMIT 1"));
  return query.bind(environment).step();
}

Result<void> SqliteStore::add_key(const KeyRow& row) {
  TRY(statement, db_.prepare("INSERT INTO keys(id, environment_id, name, hash, hint, embedded, "
                             "created_at, revoked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(row.id, row.environment_id, row.name, row.hash, row.hint, row.embedded,
                 row.created_at, row.revoked_at);
  return statement.run();
}

Result<std::optional<KeyRow>> SqliteStore::key_by_hash(std::string_view hash) {
  TRY(query, db_.prepare(str("SELECT ", kKeyColumns, " WHERE hash = ?")));
  TRY(found, query.bind(hash).step());
  if (!found) return std::nullopt;
  return key_of(query);
}

Result<std::vector<KeyRow>> SqliteStore::keys(std::string_view environment) {
  TRY(query, db_.prepare(str("SELECT ", kKeyColumns, " WHERE environment_id = ? ORDER BY number")));
  query.bind(environment);
  std::vector<KeyRow> rows;
  for (;;) {
    TRY(more, query.step());
    if (!more) return rows;
    rows.push_back(key_of(query));
  }
}

Result<void> SqliteStore::revoke_key(std::string_view id, Micros at) {
  TRY(statement, db_.prepare("UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at = 0"));
  return statement.bind(at, id).run();
}

}  // namespace glovebox::brain

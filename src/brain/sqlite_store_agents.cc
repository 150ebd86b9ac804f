#include "brain/sqlite_store.h"
#include "brain/sqlite_text.h"

namespace glovebox::brain {
namespace {

constexpr std::string_view kColumns =
    "a.number, a.id, v.version, v.name, v.definition, a.created_at, v.updated_at, a.archived_at "
    "FROM agents a JOIN agent_versions v ON v.agent = a.number";

Listed<AgentRow> row_of(const store::Statement& query) {
  return {query.integer(0), AgentRow{.id = query.text(1),
                                     .version = query.integer(2),
                                     .name = query.text(3),
                                     .definition = query.text(4),
                                     .created_at = query.integer(5),
                                     .updated_at = query.integer(6),
                                     .archived_at = query.integer(7)}};
}

Error no_agent(std::string_view id) {
  return Error{Code::not_found, str("there is no agent ", id)};
}

}  // namespace

Result<void> SqliteStore::add_agent(const AgentRow& row) {
  return atomically([&]() -> Result<void> {
    TRY(agent, db_.prepare("INSERT INTO agents(id, version, created_at, archived_at) "
                           "VALUES (?, 0, ?, ?)"));
    TRY_DO(agent.bind(row.id, row.created_at, row.archived_at).run());
    return add_agent_version(row);
  });
}

Result<void> SqliteStore::add_agent_version(const AgentRow& row) {
  return atomically([&]() -> Result<void> {
    TRY(version, db_.prepare("INSERT INTO agent_versions(agent, version, name, updated_at, "
                             "definition) VALUES ((SELECT number FROM agents WHERE id = ?), "
                             "?, ?, ?, ?)"));
    TRY_DO(version.bind(row.id, row.version, row.name, row.updated_at, row.definition).run());
    TRY(agent, db_.prepare("UPDATE agents SET version = ? WHERE id = ?"));
    return agent.bind(row.version, row.id).run();
  });
}

Result<AgentRow> SqliteStore::agent(std::string_view id, std::optional<std::int64_t> version) {
  TRY(query, db_.prepare(str("SELECT ", kColumns,
                             " WHERE a.id = ?1 AND v.version = iif(?2, ?3, a.version)")));
  TRY(found, query.bind(id, version.has_value(), version.value_or(0)).step());
  if (found) return row_of(query).row;
  if (!version) return no_agent(id);
  TRY_DO(agent(id, {}));
  return Error{Code::not_found, str("agent ", id, " has no version ", *version)};
}

Result<void> SqliteStore::archive_agent(std::string_view id, Micros at) {
  TRY(statement, db_.prepare("UPDATE agents SET archived_at = ? WHERE id = ?"));
  return statement.bind(at, id).run();
}

Result<std::vector<Listed<AgentRow>>> SqliteStore::agents(const ListQuery& query) {
  TRY(statement, db_.prepare(str("SELECT ", kColumns, " WHERE v.version = a.version AND ",
                                 list_conditions("a.", query), list_order("a.", query))));
  bind_list(statement, query);
  statement.bind(query.limit);
  return rows_of<AgentRow>(statement, row_of);
}

Result<std::vector<Listed<AgentRow>>> SqliteStore::agent_versions(std::string_view id,
                                                                  const ListQuery& query) {
  // In this list the number is the version itself.
  TRY(statement, db_.prepare(str("SELECT v.version, ", kColumns.substr(kColumns.find("a.id")),
                                 " WHERE a.id = ?3 AND (?1 = 0 OR v.version < ?1) "
                                 "ORDER BY v.version DESC LIMIT ?2")));
  statement.bind(query.from, query.limit, id);
  return rows_of<AgentRow>(statement, row_of);
}

}  // namespace glovebox::brain

// Sessions: what changes at each turn in one table, what never does in another.
#include "brain/sqlite_store.h"
#include "brain/sqlite_text.h"

namespace glovebox::brain {
namespace {

constexpr std::string_view kColumns =
    "s.number, s.id, s.environment_id, s.agent_id, s.agent_version, s.title, s.metadata, s.usage, "
    "s.status, s.stop_reason, s.created_at, s.updated_at, s.archived_at, s.active_us, d.agent, "
    "d.resources FROM sessions s JOIN session_definitions d ON d.session = s.number";

Listed<SessionRow> row_of(const store::Statement& query) {
  SessionRow row;
  row.id = query.text(1);
  row.environment_id = query.text(2);
  row.agent_id = query.text(3);
  row.agent_version = query.integer(4);
  if (!query.null(5)) row.title = query.text(5);
  row.metadata = query.text(6);
  row.usage = query.text(7);
  row.status = session_status(query.text(8)).value_or(SessionStatus::terminated);
  row.stop_reason = query.text(9);
  row.created_at = query.integer(10);
  row.updated_at = query.integer(11);
  row.archived_at = query.integer(12);
  row.active_us = query.integer(13);
  row.agent = query.text(14);
  row.resources = query.text(15);
  return {query.integer(0), std::move(row)};
}

void bind_title(store::Statement& statement, const SessionRow& row) {
  if (row.title)
    statement.bind(*row.title);
  else
    statement.bind(std::nullopt);
}

}  // namespace

Result<std::int64_t> SqliteStore::number_of(std::string_view session) {
  TRY(query, db_.prepare("SELECT number FROM sessions WHERE id = ?"));
  TRY(found, query.bind(session).step());
  if (!found) return Error{Code::not_found, str("there is no session ", session)};
  return query.integer(0);
}

Result<void> SqliteStore::add_session(const SessionRow& row) {
  return atomically([&]() -> Result<void> {
    TRY(statement, db_.prepare("INSERT INTO sessions(id, environment_id, agent_id, agent_version, "
                               "title, metadata, usage, status, stop_reason, created_at, "
                               "updated_at, archived_at, active_us) "
                               "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    statement.bind(row.id, row.environment_id, row.agent_id, row.agent_version);
    bind_title(statement, row);
    statement.bind(row.metadata, row.usage, name(row.status), row.stop_reason, row.created_at,
                   row.updated_at, row.archived_at, row.active_us);
    TRY_DO(statement.run());
    TRY(definition, db_.prepare("INSERT INTO session_definitions(session, agent, resources) "
                                "VALUES ((SELECT number FROM sessions WHERE id = ?), ?, ?)"));
    return definition.bind(row.id, row.agent, row.resources).run();
  });
}

Result<SessionRow> SqliteStore::session(std::string_view id) {
  TRY(query, db_.prepare(str("SELECT ", kColumns, " WHERE s.id = ?")));
  TRY(found, query.bind(id).step());
  if (!found) return Error{Code::not_found, str("there is no session ", id)};
  return row_of(query).row;
}

Result<void> SqliteStore::save_session(const SessionRow& row) {
  return atomically([&]() -> Result<void> {
    TRY(number, number_of(row.id));
    TRY(statement,
        db_.prepare("UPDATE sessions SET title = ?, metadata = ?, usage = ?, status = ?, "
                    "stop_reason = ?, updated_at = ?, archived_at = ?, active_us = ? "
                    "WHERE number = ?"));
    bind_title(statement, row);
    statement.bind(row.metadata, row.usage, name(row.status), row.stop_reason, row.updated_at,
                   row.archived_at, row.active_us, number);
    TRY_DO(statement.run());
    // Comparing costs a read, writing the same again would cost the pages of a long prompt.
    TRY(definition, db_.prepare("UPDATE session_definitions SET agent = ?1, resources = ?2 "
                                "WHERE session = ?3 AND (agent <> ?1 OR resources <> ?2)"));
    return definition.bind(row.agent, row.resources, number).run();
  });
}

Result<void> SqliteStore::remove_session(std::string_view id) {
  return atomically([&]() -> Result<void> {
    TRY(number, number_of(id));
    TRY(events, db_.prepare("DELETE FROM events WHERE place BETWEEN ? AND ?"));
    TRY_DO(events.bind(place(number, 0), place(number, kLastSeq)).run());
    for (auto sql : {"DELETE FROM sessions WHERE number = ?",
                     "DELETE FROM session_definitions WHERE session = ?"}) {
      TRY(statement, db_.prepare(sql));
      TRY_DO(statement.bind(number).run());
    }
    for (auto sql :
         {"DELETE FROM work WHERE session_id = ?", "DELETE FROM tokens WHERE session_id = ?"}) {
      TRY(statement, db_.prepare(sql));
      TRY_DO(statement.bind(id).run());
    }
    return ok;
  });
}

Result<std::vector<std::string>> SqliteStore::unfinished_sessions() {
  TRY(query, db_.prepare(str("SELECT id FROM sessions WHERE status IN ('running', 'rescheduling') "
                             "UNION SELECT id FROM sessions WHERE stop_reason = 'requires_action' "
                             "AND status <> 'terminated' "
                             "UNION SELECT id FROM sessions WHERE status <> 'terminated' AND "
                             "number IN (SELECT place >> ",
                             kSeqBits, " FROM events WHERE processed_at = 0) ORDER BY id")));
  return texts_of(query);
}

Result<std::vector<Listed<SessionRow>>> SqliteStore::sessions(const SessionQuery& query) {
  std::string sql = str("SELECT ", kColumns, " WHERE ", list_conditions("s.", query));
  if (!query.agent_id.empty()) sql += " AND s.agent_id = ?";
  if (query.agent_version) sql += " AND s.agent_version = ?";
  if (!query.statuses.empty()) sql += " AND s.status IN (SELECT value FROM json_each(?))";
  if (!query.memory_store_id.empty())
    sql +=
        " AND EXISTS (SELECT 1 FROM json_each(d.resources) WHERE value ->> 'memory_store_id' = ?)";
  sql += list_order("s.", query);
  TRY(statement, db_.prepare(sql));
  bind_list(statement, query);
  if (!query.agent_id.empty()) statement.bind(query.agent_id);
  if (query.agent_version) statement.bind(*query.agent_version);
  if (!query.statuses.empty()) statement.bind(json_list(query.statuses));
  if (!query.memory_store_id.empty()) statement.bind(query.memory_store_id);
  statement.bind(query.limit);
  return rows_of<SessionRow>(statement, row_of);
}

Result<std::vector<std::string>> SqliteStore::stale_sessions(Micros before, int limit) {
  // The last event is the latest: the others need not be looked at.
  TRY(query,
      db_.prepare(str("SELECT id FROM sessions s WHERE (status = 'terminated' OR (status = 'idle' "
                      "AND stop_reason <> 'requires_action')) AND updated_at < ?1 AND "
                      "coalesce((SELECT added_at FROM events WHERE place BETWEEN s.number << ",
                      kSeqBits, " AND (s.number << ", kSeqBits, ") + ", kLastSeq,
                      " ORDER BY place DESC LIMIT 1), 0) < ?1 ORDER BY number LIMIT ?2")));
  query.bind(before, limit);
  return texts_of(query);
}

Result<std::vector<std::string>> SqliteStore::idle_held_sessions(Micros before) {
  TRY(query, db_.prepare("SELECT s.id FROM work w JOIN sessions s ON s.id = w.session_id "
                         "WHERE w.state <> 'stopped' AND w.state = 'active' AND s.status = 'idle' "
                         "AND s.stop_reason <> 'requires_action' AND s.updated_at < ?"));
  query.bind(before);
  return texts_of(query);
}

}  // namespace glovebox::brain

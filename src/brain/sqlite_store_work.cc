#include "brain/sqlite_store.h"
#include "brain/sqlite_text.h"

namespace glovebox::brain {
namespace {

constexpr WorkState kStates[] = {WorkState::queued, WorkState::starting, WorkState::active,
                                 WorkState::stopping, WorkState::stopped};

constexpr std::string_view kColumns =
    "number, id, environment_id, session_id, state, metadata, created_at, acknowledged_at, "
    "started_at, latest_heartbeat_at, previous_heartbeat_at, stop_requested_at, stopped_at, "
    "beat_by, claimed_at, claimed_by, delivery, ttl_secs, lapses, due_at "
    "FROM work";

WorkState state_of(std::string_view text) {
  for (WorkState state : kStates)
    if (name(state) == text) return state;
  return WorkState::stopped;
}

Listed<WorkRow> row_of(const store::Statement& query) {
  return {query.integer(0), WorkRow{.id = query.text(1),
                                    .environment_id = query.text(2),
                                    .session_id = query.text(3),
                                    .state = state_of(query.text(4)),
                                    .metadata = query.text(5),
                                    .created_at = query.integer(6),
                                    .acknowledged_at = query.integer(7),
                                    .started_at = query.integer(8),
                                    .latest_heartbeat_at = query.integer(9),
                                    .previous_heartbeat_at = query.integer(10),
                                    .stop_requested_at = query.integer(11),
                                    .stopped_at = query.integer(12),
                                    .beat_by = query.text(13),
                                    .claimed_at = query.integer(14),
                                    .claimed_by = query.text(15),
                                    .delivery = query.integer(16),
                                    .ttl_secs = query.integer(17),
                                    .lapses = query.integer(18),
                                    .due_at = query.integer(19)}};
}

Result<std::vector<WorkRow>> works_of(store::Statement& query) {
  std::vector<WorkRow> rows;
  for (;;) {
    TRY(more, query.step());
    if (!more) return rows;
    rows.push_back(row_of(query).row);
  }
}

Result<std::optional<WorkRow>> one_of(store::Statement& query) {
  TRY(found, query.step());
  if (!found) return std::nullopt;
  return row_of(query).row;
}

}  // namespace

std::string_view name(WorkState state) {
  switch (state) {
    case WorkState::queued: return "queued";
    case WorkState::starting: return "starting";
    case WorkState::active: return "active";
    case WorkState::stopping: return "stopping";
    case WorkState::stopped: return "stopped";
  }
  return "";
}

Result<void> SqliteStore::add_work(const WorkRow& row) {
  return atomically([&]() -> Result<void> {
    TRY(statement,
        db_.prepare("INSERT INTO work(id, environment_id, session_id, state, metadata, created_at, "
                    "acknowledged_at, started_at, latest_heartbeat_at, previous_heartbeat_at, "
                    "stop_requested_at, stopped_at, beat_by, claimed_at, claimed_by, delivery, "
                    "ttl_secs, lapses, due_at) VALUES "
                    "(?, ?, ?, 'queued', '{}', ?, 0, 0, 0, 0, 0, 0, '', 0, '', 0, 0, 0, 0)"));
    TRY_DO(statement.bind(row.id, row.environment_id, row.session_id, row.created_at).run());
    return save_work(row);
  });
}

Result<void> SqliteStore::save_work(const WorkRow& row) {
  TRY(statement,
      db_.prepare("UPDATE work SET state = ?, metadata = ?, acknowledged_at = ?, started_at = ?, "
                  "latest_heartbeat_at = ?, previous_heartbeat_at = ?, stop_requested_at = ?, "
                  "stopped_at = ?, beat_by = ?, claimed_at = ?, claimed_by = ?, delivery = ?, "
                  "ttl_secs = ?, lapses = ?, due_at = ? WHERE id = ?"));
  statement.bind(name(row.state), row.metadata, row.acknowledged_at, row.started_at,
                 row.latest_heartbeat_at, row.previous_heartbeat_at, row.stop_requested_at,
                 row.stopped_at, row.beat_by, row.claimed_at, row.claimed_by, row.delivery,
                 row.ttl_secs, row.lapses, row.due_at, row.id);
  return statement.run();
}

Result<WorkRow> SqliteStore::work(std::string_view id) {
  TRY(query, db_.prepare(str("SELECT ", kColumns, " WHERE id = ?")));
  TRY(found, query.bind(id).step());
  if (found) return row_of(query).row;
  return Error{Code::not_found, str("there is no work item ", id)};
}

Result<std::vector<WorkRow>> SqliteStore::live_work(std::string_view session) {
  TRY(query, db_.prepare(str("SELECT ", kColumns,
                             " WHERE session_id = ? AND state <> 'stopped' ORDER BY number")));
  query.bind(session);
  return works_of(query);
}

Result<std::optional<WorkRow>> SqliteStore::claimable(std::string_view environment,
                                                      Micros claimed_before) {
  TRY(query, db_.prepare(str("SELECT ", kColumns,
                             " WHERE environment_id = ? AND state = 'queued' "
                             "AND claimed_at <= ? ORDER BY number LIMIT 1")));
  query.bind(environment, claimed_before);
  return one_of(query);
}

Result<Micros> SqliteStore::next_claimable(std::string_view environment, Micros reclaim_after) {
  TRY(query, db_.prepare("SELECT min(iif(claimed_at, claimed_at + ?, 0)) FROM work "
                         "WHERE environment_id = ? AND state = 'queued'"));
  TRY_DO(query.bind(reclaim_after, environment).step());
  return query.integer(0);
}

Result<std::vector<WorkRow>> SqliteStore::due_work(Micros now, int limit) {
  TRY(query, db_.prepare(str("SELECT ", kColumns,
                             " WHERE due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT ?")));
  query.bind(now, limit);
  return works_of(query);
}

Result<std::vector<Listed<WorkRow>>> SqliteStore::works(std::string_view environment,
                                                        const ListQuery& query) {
  TRY(statement, db_.prepare(str("SELECT ", kColumns,
                                 " WHERE environment_id = ?2 AND (?1 = 0 OR number < ?1) "
                                 "ORDER BY number DESC LIMIT ?3")));
  statement.bind(query.from, environment, query.limit);
  return rows_of<WorkRow>(statement, row_of);
}

Result<QueueStats> SqliteStore::queue_stats(std::string_view environment) {
  TRY(query, db_.prepare("SELECT count(*), total(claimed_at > 0), min(created_at) FROM work "
                         "WHERE environment_id = ? AND state = 'queued'"));
  TRY_DO(query.bind(environment).step());
  const std::int64_t pending = query.integer(1);
  return QueueStats{.depth = query.integer(0) - pending,
                    .pending = pending,
                    .oldest_queued_at = query.integer(2)};
}

Result<void> SqliteStore::add_token(const TokenRow& row) {
  TRY(statement, db_.prepare("INSERT INTO tokens(hash, work_id, environment_id, session_id, "
                             "delivery, expires_at) VALUES (?, ?, ?, ?, ?, ?)"));
  statement.bind(row.hash, row.work_id, row.environment_id, row.session_id, row.delivery,
                 row.expires_at);
  return statement.run();
}

Result<std::optional<TokenRow>> SqliteStore::token(std::string_view hash) {
  TRY(query, db_.prepare("SELECT hash, work_id, environment_id, session_id, delivery, expires_at "
                         "FROM tokens WHERE hash = ?"));
  TRY(found, query.bind(hash).step());
  if (!found) return std::nullopt;
  return TokenRow{.hash = query.text(0),
                  .work_id = query.text(1),
                  .environment_id = query.text(2),
                  .session_id = query.text(3),
                  .delivery = query.integer(4),
                  .expires_at = query.integer(5)};
}

Result<std::string> SqliteStore::newest_token(std::string_view session) {
  TRY(query,
      db_.prepare("SELECT hash FROM tokens WHERE session_id = ? ORDER BY number DESC LIMIT 1"));
  TRY(found, query.bind(session).step());
  return found ? query.text(0) : "";
}

Result<void> SqliteStore::expire_tokens(std::string_view work, Micros at) {
  TRY(statement,
      db_.prepare("UPDATE tokens SET expires_at = ? WHERE work_id = ? AND expires_at = 0"));
  return statement.bind(at, work).run();
}

Result<void> SqliteStore::sweep_tokens(Micros now) {
  TRY(statement, db_.prepare("DELETE FROM tokens WHERE expires_at > 0 AND expires_at <= ?"));
  return statement.bind(now).run();
}

}  // namespace glovebox::brain

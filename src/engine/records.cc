#include "engine/records.h"

#include <algorithm>

namespace glovebox::engine {

namespace {

constexpr store::Migration kMigrations[] = {{1, R"(
  CREATE TABLE sandboxes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order of creation, for paging
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,                      -- '' for unnamed ones
    status TEXT NOT NULL,
    terminated_at INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    base INTEGER NOT NULL,
    cleaned INTEGER NOT NULL,
    record TEXT NOT NULL                     -- the API's record as JSON
  );
  CREATE UNIQUE INDEX live_names ON sandboxes(name) WHERE name <> '' AND status <> 'terminated';
  CREATE INDEX names ON sandboxes(name) WHERE name <> '';
  CREATE INDEX uncleaned ON sandboxes(cleaned) WHERE cleaned = 0;
  CREATE INDEX statuses ON sandboxes(status, seq);
)"},
                                            {2, R"(
  CREATE TABLE managed (          -- processes that are kept running
    sandbox TEXT NOT NULL,
    id TEXT NOT NULL,
    request TEXT NOT NULL,        -- the JSON it was started with
    handle INTEGER NOT NULL,      -- of its process; 0 while one is being started
    attempt_ms INTEGER NOT NULL,  -- when that began
    restarts INTEGER NOT NULL,
    used INTEGER NOT NULL,        -- of its max_restarts
    stopped INTEGER NOT NULL,
    PRIMARY KEY (sandbox, id)
  ) WITHOUT ROWID;
)"},
                                            {3, R"(
  CREATE TABLE pools (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL);
  CREATE TABLE warm_boxes (id TEXT PRIMARY KEY, pool TEXT NOT NULL, base INTEGER NOT NULL,
    ready INTEGER NOT NULL DEFAULT 0);
)"},
                                            {4, R"(
  CREATE TABLE snapshots (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    sandbox TEXT NOT NULL,                   -- it was taken of
    status TEXT NOT NULL,                    -- as the record's; 'deleted': its files are going
    record TEXT NOT NULL                     -- as JSON
  );
)"},
                                            {5, R"(
  CREATE TABLE port_rules (
    sandbox TEXT NOT NULL,
    port INTEGER NOT NULL,
    verify TEXT NOT NULL,         -- 'standard-webhooks'
    secrets TEXT NOT NULL,        -- one after the other, a space between
    PRIMARY KEY (sandbox, port)
  ) WITHOUT ROWID;
)"},
                                            // Without these members it has neither, from here on.
                                            // What runs already may have both (kUnknown).
                                            {6, R"(
  UPDATE sandboxes SET record =
      json_insert(record, '$.host_generation', 'unknown', '$.inside_version', 'unknown')
    WHERE status <> 'terminated';
)"}};

}  // namespace

Result<Records> Records::open(const std::string& path) {
  TRY(db, store::Database::open(path, kMigrations));
  return Records(std::move(db));
}

Result<void> Records::insert(const Row& row) {
  const auto& r = row.record;
  TRY(statement, db_.prepare("INSERT INTO sandboxes(id, name, status, terminated_at, generation, "
                             "base, cleaned, record) "
                             "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(r.id, r.name, name(r.status), r.terminated_at, r.generation,
                 static_cast<std::int64_t>(row.base), row.cleaned, wire::encode_record(r));
  return statement.run();
}

Result<void> Records::save(const wire::SandboxRecord& r) {
  TRY(statement,
      db_.prepare(
          "UPDATE sandboxes SET name = ?, status = ?, terminated_at = ?, record = ? WHERE id = ?"));
  statement.bind(r.name, name(r.status), r.terminated_at, wire::encode_record(r), r.id);
  return statement.run();
}

Result<void> Records::set_base(const std::string& id, uid_t base) {
  TRY(statement, db_.prepare("UPDATE sandboxes SET base = ? WHERE id = ?"));
  statement.bind(static_cast<std::int64_t>(base), id);
  return statement.run();
}

Result<void> Records::mark_cleaned(const std::string& id) {
  TRY(statement, db_.prepare("UPDATE sandboxes SET cleaned = 1 WHERE id = ?"));
  statement.bind(id);
  return statement.run();
}

Result<wire::SandboxRecord> Records::find(const std::string& id_or_name) {
  for (auto sql :
       {"SELECT record FROM sandboxes WHERE id = ?",
        "SELECT record FROM sandboxes WHERE name = ? AND name <> '' AND status <> 'terminated'"}) {
    TRY(statement, db_.prepare(sql));
    statement.bind(id_or_name);
    TRY(found, statement.step());
    if (found) return wire::decode_record(statement.text(0));
  }
  return Error{Code::not_found, str("no sandbox ", id_or_name), "SANDBOX_NOT_FOUND"};
}

Result<std::uint64_t> Records::next_generation(const std::string& name) {
  TRY(statement,
      db_.prepare(
          "SELECT coalesce(max(generation), 0) + 1 FROM sandboxes WHERE name = ? AND name <> ''"));
  statement.bind(name);
  TRY(found, statement.step());
  return found ? static_cast<std::uint64_t>(statement.integer(0)) : 1;
}

Result<ListPage> Records::list(const ListQuery& query) {
  // A cursor is the number of the last record seen. Forward goes to older ones, backward to newer
  // ones.
  std::int64_t from = 0;
  if (!query.cursor.empty()) {
    auto number = parse_int<std::int64_t>(query.cursor);
    if (!number || *number < 0) return Error{Code::invalid, "cursor: not one of ours"};
    from = *number;
  }
  std::string sql = "SELECT seq, record FROM sandboxes WHERE 1";
  if (!query.status.empty()) sql += " AND status = ?1";
  if (from) sql += query.backward ? " AND seq > ?2" : " AND seq < ?2";
  sql += query.backward ? " ORDER BY seq ASC LIMIT ?3" : " ORDER BY seq DESC LIMIT ?3";
  TRY(statement, db_.prepare(sql));
  statement.bind(query.status, from, static_cast<std::int64_t>(query.limit + 1));
  std::vector<std::pair<std::int64_t, wire::SandboxRecord>> rows;
  for (;;) {
    TRY(more, statement.step());
    if (!more) break;
    TRY(record, wire::decode_record(statement.text(1)), "stored record");
    rows.emplace_back(statement.integer(0), std::move(record));
  }
  bool further = rows.size() > query.limit;
  if (further) rows.pop_back();
  if (query.backward) std::reverse(rows.begin(), rows.end());
  ListPage page;
  if (!rows.empty()) {
    bool older = query.backward ? from != 0 : further;
    bool newer = query.backward ? further : from != 0;
    if (older) page.next = str(rows.back().first);
    if (newer) page.previous = str(rows.front().first);
  }
  for (auto& [seq, record] : rows) page.records.push_back(std::move(record));
  return page;
}

Result<std::vector<Row>> Records::uncleaned() {
  TRY(statement, db_.prepare("SELECT record, base FROM sandboxes WHERE cleaned = 0 ORDER BY seq"));
  std::vector<Row> rows;
  for (;;) {
    TRY(more, statement.step());
    if (!more) return rows;
    TRY(record, wire::decode_record(statement.text(0)), "stored record");
    rows.push_back({std::move(record), static_cast<uid_t>(statement.integer(1)), false});
  }
}

Result<void> Records::forget_terminated_before(std::int64_t unix_ms) {
  TRY(statement, db_.prepare("DELETE FROM sandboxes WHERE cleaned = 1 AND status = 'terminated' "
                             "AND terminated_at < ?"));
  statement.bind(unix_ms);
  return statement.run();
}

}  // namespace glovebox::engine

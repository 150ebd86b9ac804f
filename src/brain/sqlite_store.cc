#include "brain/sqlite_store.h"

#include "base/log.h"

namespace glovebox::brain {
namespace {

// What a session never changes lies apart from what changes at each turn: an agent's prompt may
// have 100,000 characters. Rows that wait for a time are found by partial indexes, which hold
// nothing else.
constexpr store::Migration kMigrations[] = {{1, R"(
  CREATE TABLE agents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,                -- the newest
    created_at INTEGER NOT NULL,
    archived_at INTEGER NOT NULL
  );
  CREATE TABLE agent_versions (
    agent INTEGER NOT NULL,
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    definition TEXT NOT NULL
  );
  CREATE UNIQUE INDEX agent_version ON agent_versions(agent, version);

  CREATE TABLE environments (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,
    metadata TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    archived_at INTEGER NOT NULL
  );
  CREATE UNIQUE INDEX environment_names ON environments(name) WHERE archived_at = 0;
  CREATE TABLE keys (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    environment_id TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    embedded INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL
  );
  CREATE INDEX environment_keys ON keys(environment_id);

  CREATE TABLE sessions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    environment_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    agent_version INTEGER NOT NULL,
    title TEXT,
    metadata TEXT NOT NULL,
    usage TEXT NOT NULL,
    status TEXT NOT NULL,
    stop_reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    archived_at INTEGER NOT NULL,
    active_us INTEGER NOT NULL
  );
  CREATE INDEX session_agents ON sessions(agent_id);
  CREATE INDEX session_environments ON sessions(environment_id);
  CREATE INDEX session_statuses ON sessions(status);
  CREATE INDEX sessions_waiting ON sessions(id) WHERE stop_reason = 'requires_action';
  CREATE TABLE session_definitions (
    session INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    resources TEXT NOT NULL
  );
  CREATE TABLE events (
    place INTEGER PRIMARY KEY,               -- number of the session * 2^32 + seq
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    processed_at INTEGER NOT NULL,           -- 0: waits in line
    added_at INTEGER NOT NULL,
    json TEXT NOT NULL,
    memo TEXT NOT NULL
  );
  CREATE INDEX waiting_events ON events(place) WHERE processed_at = 0;

  CREATE TABLE work (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    environment_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    state TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    acknowledged_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    latest_heartbeat_at INTEGER NOT NULL,
    previous_heartbeat_at INTEGER NOT NULL,
    stop_requested_at INTEGER NOT NULL,
    stopped_at INTEGER NOT NULL,
    beat_by TEXT NOT NULL,
    claimed_at INTEGER NOT NULL,
    claimed_by TEXT NOT NULL,
    delivery INTEGER NOT NULL,
    ttl_secs INTEGER NOT NULL,
    lapses INTEGER NOT NULL,
    due_at INTEGER NOT NULL
  );
  CREATE INDEX environment_work ON work(environment_id);
  CREATE INDEX session_work ON work(session_id);
  CREATE INDEX queued_work ON work(environment_id) WHERE state = 'queued';
  CREATE INDEX live_work ON work(state, session_id) WHERE state <> 'stopped';
  CREATE INDEX due_work ON work(due_at) WHERE due_at > 0;
  CREATE TABLE tokens (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    hash TEXT NOT NULL UNIQUE,
    work_id TEXT NOT NULL,
    environment_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    delivery INTEGER NOT NULL,
    expires_at INTEGER NOT NULL              -- 0: with its item
  );
  CREATE INDEX work_tokens ON tokens(work_id);
  CREATE INDEX session_tokens ON tokens(session_id);
  CREATE INDEX expiring_tokens ON tokens(expires_at) WHERE expires_at > 0;

  CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
)"},
                                            {2, R"(
  CREATE TABLE memory_stores (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    archived_at INTEGER NOT NULL
  );
  CREATE TABLE memories (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    store_id TEXT NOT NULL,
    path TEXT NOT NULL,
    version INTEGER NOT NULL,                -- number of the one that has its text
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
  );
  CREATE UNIQUE INDEX memory_paths ON memories(store_id, path);
  CREATE UNIQUE INDEX memory_heads ON memories(version);
  CREATE TABLE memory_versions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    store_id TEXT NOT NULL,
    memory_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    path TEXT NOT NULL,                      -- '': redacted
    sha256 TEXT NOT NULL,                    -- '': without a text
    size INTEGER NOT NULL,
    actor_type TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    redactor_type TEXT NOT NULL,
    redactor_id TEXT NOT NULL,
    redacted_at INTEGER NOT NULL,
    content TEXT
  );
  CREATE INDEX memory_store_versions ON memory_versions(store_id);
  CREATE INDEX versions_of_memories ON memory_versions(memory_id);
  CREATE INDEX memory_version_times ON memory_versions(created_at);
)"},
                                            {3, R"(
  CREATE TABLE skills (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
  );
  CREATE TABLE skill_versions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    skill_id TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at INTEGER NOT NULL
  );
  CREATE INDEX versions_of_skills ON skill_versions(skill_id);
  CREATE TABLE skill_archives (version INTEGER PRIMARY KEY, archive BLOB NOT NULL);
)"},
                                            {4, R"(
  CREATE TABLE files (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL              -- 0: never
  );
  CREATE INDEX expiring_files ON files(expires_at) WHERE expires_at > 0;
  CREATE TABLE file_contents (file INTEGER PRIMARY KEY, content BLOB NOT NULL);
)"},
                                            {5, R"(
  CREATE TABLE webhooks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    events TEXT NOT NULL,
    secret TEXT NOT NULL,                    -- sealed
    enabled INTEGER NOT NULL,
    disabled_reason TEXT NOT NULL,
    failing_since INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
  );
  CREATE TABLE webhook_deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,                 -- 0: over
    attempts INTEGER NOT NULL,
    delivered_at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    error TEXT NOT NULL
  );
  CREATE UNIQUE INDEX webhook_events ON webhook_deliveries(webhook_id, event_id);
  CREATE INDEX owed_deliveries ON webhook_deliveries(webhook_id, due_at) WHERE due_at > 0;
  CREATE INDEX past_deliveries ON webhook_deliveries(created_at) WHERE due_at = 0;
)"},
                                            {6, R"(
  ALTER TABLE events ADD COLUMN call TEXT NOT NULL DEFAULT '';  -- made by it, or answered
  UPDATE events SET call = id WHERE type IN ('agent.tool_use', 'agent.custom_tool_use');
  UPDATE events SET call = coalesce(json_extract(json, '$.tool_use_id'),
                                    json_extract(json, '$.custom_tool_use_id'), '')
    WHERE type IN ('user.tool_result', 'user.custom_tool_result') AND json_valid(json);
  CREATE INDEX events_of_calls ON events(call) WHERE call <> '';
)"}};

struct Deeper {  // also when `work` throws
  explicit Deeper(int& depth) : depth(depth) { ++depth; }
  ~Deeper() { --depth; }
  int& depth;
};

}  // namespace

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(const std::string& path) {
  TRY(db, store::Database::open(path, kMigrations));
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(db)));
}

Result<void> SqliteStore::run(std::string_view sql) {
  TRY(statement, db_.prepare(sql));
  return statement.run();
}

Result<void> SqliteStore::atomically(const std::function<Result<void>()>& work) {
  if (depth_ == 0) {
    TRY(transaction, db_.begin());
    Deeper deeper(depth_);
    TRY_DO(work());
    return transaction.commit();
  }
  // Inside another one: what fails here is undone even if the outer one goes on.
  TRY_DO(run("SAVEPOINT inner_work"));
  Deeper deeper(depth_);
  auto done = work();
  if (!done) {
    auto undone = run("ROLLBACK TO inner_work");
    if (!undone) log::error("brain.rollback_failed", {{"reason", undone.error().what}});
  }
  TRY_DO(run("RELEASE inner_work"));
  return done;
}

Result<std::string> SqliteStore::setting(std::string_view name) {
  TRY(query, db_.prepare("SELECT value FROM settings WHERE name = ?"));
  TRY(found, query.bind(name).step());
  return found ? query.text(0) : "";
}

Result<void> SqliteStore::set_setting(std::string_view name, std::string_view value) {
  TRY(statement, db_.prepare("INSERT INTO settings(name, value) VALUES (?, ?) "
                             "ON CONFLICT(name) DO UPDATE SET value = excluded.value"));
  return statement.bind(name, value).run();
}

Result<Totals> SqliteStore::totals() {
  TRY(query, db_.prepare("SELECT (SELECT count(*) FROM sessions),"
                         " (SELECT count(*) FROM sessions WHERE status = 'running'),"
                         " (SELECT count(*) FROM work WHERE state <> 'stopped' AND state = "
                         "'queued'),"
                         " (SELECT count(*) FROM work WHERE state <> 'stopped'),"
                         " (SELECT count(*) FROM tokens)"));
  TRY_DO(query.step());
  return Totals{.sessions = query.integer(0),
                .sessions_running = query.integer(1),
                .queued = query.integer(2),
                .held = query.integer(3) - query.integer(2),
                .tokens = query.integer(4)};
}

Result<void> SqliteStore::sync() const { return db_.sync(); }

}  // namespace glovebox::brain

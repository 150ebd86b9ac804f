#include "orchestrator/journal.h"

namespace glovebox::orchestrator {

namespace {

constexpr store::Migration kMigrations[] = {{1, R"(
  CREATE TABLE claims (
    work TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    session TEXT NOT NULL,
    state TEXT NOT NULL,
    last_heartbeat TEXT NOT NULL,
    touched_ms INTEGER NOT NULL,
    ttl_ms INTEGER NOT NULL,
    box TEXT NOT NULL
  );
)"},
                                            {2, R"(
  CREATE TABLE leftovers (
    session TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    box TEXT NOT NULL,
    used_ms INTEGER NOT NULL,
    has_box INTEGER NOT NULL
  );
  CREATE TABLE pools (environment TEXT PRIMARY KEY, pool TEXT NOT NULL);
)"}};

}  // namespace

std::string_view name(Claim::State state) {
  switch (state) {
    case Claim::State::claimed: return "claimed";
    case Claim::State::held: return "held";
  }
  return "?";
}

Result<Journal> Journal::open(const std::string& path) {
  TRY(db, store::Database::open(path, kMigrations), "journal");
  return Journal(std::move(db));
}

Result<void> Journal::add(const Claim& claim) {
  TRY(statement,
      db_.prepare("INSERT OR REPLACE INTO claims(work, environment, session, state, "
                  "last_heartbeat, touched_ms, ttl_ms, box) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(claim.work, claim.environment, claim.session, name(claim.state),
                 claim.last_heartbeat, claim.touched_ms, claim.ttl_ms, claim.box);
  return statement.run();
}

Result<void> Journal::hold(const std::string& work) {
  TRY(statement, db_.prepare("UPDATE claims SET state = ? WHERE work = ?"));
  statement.bind(name(Claim::State::held), work);
  return statement.run();
}

Result<void> Journal::beat(const std::string& work, const std::string& last_heartbeat,
                           std::int64_t sent_ms, std::int64_t ttl_ms) {
  TRY(statement, db_.prepare("UPDATE claims SET last_heartbeat = ?, touched_ms = ?, ttl_ms = ? "
                             "WHERE work = ?"));
  statement.bind(last_heartbeat, sent_ms, ttl_ms, work);
  return statement.run();
}

Result<void> Journal::box(const std::string& work, const std::string& box) {
  TRY(statement, db_.prepare("UPDATE claims SET box = ? WHERE work = ?"));
  statement.bind(box, work);
  return statement.run();
}

Result<void> Journal::remove(const std::string& work) {
  TRY(statement, db_.prepare("DELETE FROM claims WHERE work = ?"));
  statement.bind(work);
  return statement.run();
}

Result<void> Journal::used(const std::string& environment, const std::string& session,
                           const std::string& box, std::int64_t at_ms) {
  TRY(statement, db_.prepare("INSERT OR REPLACE INTO leftovers(session, environment, box, used_ms, "
                             "has_box) VALUES (?, ?, ?, ?, 1)"));
  statement.bind(session, environment, box, at_ms);
  return statement.run();
}

Result<void> Journal::used_until(const std::string& session, std::int64_t at_ms) {
  TRY(statement, db_.prepare("UPDATE leftovers SET used_ms = ? WHERE session = ?"));
  statement.bind(at_ms, session);
  return statement.run();
}

Result<void> Journal::box_gone(const std::string& session) {
  TRY(statement, db_.prepare("UPDATE leftovers SET has_box = 0 WHERE session = ?"));
  statement.bind(session);
  return statement.run();
}

Result<void> Journal::all_gone(const std::string& session) {
  TRY(statement, db_.prepare("DELETE FROM leftovers WHERE session = ?"));
  statement.bind(session);
  return statement.run();
}

static Leftover leftover_of(const store::Statement& row) {
  return {.session = row.text(0),
          .box = row.text(1),
          .used_ms = row.integer(2),
          .has_box = row.integer(3) != 0};
}

Result<std::vector<Leftover>> Journal::leftovers(const std::string& environment) {
  TRY(statement, db_.prepare("SELECT session, box, used_ms, has_box FROM leftovers WHERE "
                             "environment = ? ORDER BY used_ms, session"));
  statement.bind(environment);
  std::vector<Leftover> found;
  for (;;) {
    TRY(row, statement.step());
    if (!row) return found;
    found.push_back(leftover_of(statement));
  }
}

Result<std::optional<Leftover>> Journal::leftover(const std::string& session) {
  TRY(statement,
      db_.prepare("SELECT session, box, used_ms, has_box FROM leftovers WHERE session = ?"));
  statement.bind(session);
  TRY(row, statement.step());
  return row ? std::optional(leftover_of(statement)) : std::nullopt;
}

Result<std::string> Journal::pool(const std::string& environment) {
  TRY(statement, db_.prepare("SELECT pool FROM pools WHERE environment = ?"));
  statement.bind(environment);
  TRY(row, statement.step());
  return row ? statement.text(0) : std::string();
}

Result<std::vector<std::string>> Journal::environments_with_pool() {
  TRY(statement, db_.prepare("SELECT environment FROM pools WHERE pool != ''"));
  std::vector<std::string> environments;
  for (;;) {
    TRY(row, statement.step());
    if (!row) return environments;
    environments.push_back(statement.text(0));
  }
}

Result<void> Journal::set_pool(const std::string& environment, const std::string& pool) {
  TRY(statement, db_.prepare("INSERT OR REPLACE INTO pools(environment, pool) VALUES (?, ?)"));
  statement.bind(environment, pool);
  return statement.run();
}

Result<std::vector<Claim>> Journal::all(const std::string& environment) {
  TRY(statement, db_.prepare("SELECT work, session, state, last_heartbeat, touched_ms, ttl_ms, box "
                             "FROM claims WHERE environment = ? ORDER BY rowid"));
  statement.bind(environment);
  std::vector<Claim> claims;
  for (;;) {
    TRY(row, statement.step());
    if (!row) return claims;
    claims.push_back({.work = statement.text(0),
                      .environment = environment,
                      .session = statement.text(1),
                      .state = statement.text(2) == name(Claim::State::held)
                                   ? Claim::State::held
                                   : Claim::State::claimed,
                      .last_heartbeat = statement.text(3),
                      .touched_ms = statement.integer(4),
                      .ttl_ms = statement.integer(5),
                      .box = statement.text(6)});
  }
}

}  // namespace glovebox::orchestrator

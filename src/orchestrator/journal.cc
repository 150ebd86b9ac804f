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

#include "engine/pool_records.h"

namespace glovebox::engine {

Result<void> PoolRecords::save(const wire::Pool& pool) {
  TRY(statement, db_.prepare("INSERT INTO pools(id, record) VALUES (?, ?) "
                             "ON CONFLICT(id) DO UPDATE SET record = excluded.record"));
  statement.bind(pool.id, wire::encode_pool(pool));
  return statement.run();
}

Result<void> PoolRecords::change(const wire::Pool& pool, bool others) {
  TRY(whole, db_.begin());
  TRY_DO(save(pool));
  if (others) {
    TRY(statement, db_.prepare("UPDATE warm_boxes SET ready = 0 WHERE pool = ?"));
    statement.bind(pool.id);
    TRY_DO(statement.run());
  }
  return whole.commit();
}

Result<void> PoolRecords::remove(const std::string& id) {
  TRY(statement, db_.prepare("DELETE FROM pools WHERE id = ?"));
  statement.bind(id);
  return statement.run();
}

Result<std::vector<wire::Pool>> PoolRecords::all() {
  TRY(statement, db_.prepare("SELECT record FROM pools ORDER BY seq"));
  std::vector<wire::Pool> pools;
  for (;;) {
    TRY(more, statement.step());
    if (!more) return pools;
    TRY(pool, wire::decode_pool(statement.text(0)), "stored pool");
    pools.push_back(std::move(pool));
  }
}

Result<void> PoolRecords::insert_warm(const Warm& warm) {
  TRY(statement, db_.prepare("INSERT INTO warm_boxes(id, pool, base) VALUES (?, ?, ?)"));
  statement.bind(warm.id, warm.pool, static_cast<std::int64_t>(warm.base));
  return statement.run();
}

Result<void> PoolRecords::mark_ready(const std::string& id) {
  TRY(statement, db_.prepare("UPDATE warm_boxes SET ready = 1 WHERE id = ?"));
  statement.bind(id);
  return statement.run();
}

Result<void> PoolRecords::remove_warm(const std::string& id) {
  TRY(statement, db_.prepare("DELETE FROM warm_boxes WHERE id = ?"));
  statement.bind(id);
  return statement.run();
}

Result<std::vector<PoolRecords::Warm>> PoolRecords::warm() {
  TRY(statement, db_.prepare("SELECT id, pool, base, ready FROM warm_boxes"));
  std::vector<Warm> rows;
  for (;;) {
    TRY(more, statement.step());
    if (!more) return rows;
    rows.push_back({statement.text(0), statement.text(1), static_cast<uid_t>(statement.integer(2)),
                    statement.integer(3) != 0});
  }
}

Result<void> PoolRecords::claim(Records& records, const Row& sandbox) {
  TRY(whole, db_.begin());
  TRY_DO(records.insert(sandbox));
  TRY_DO(remove_warm(sandbox.record.id));
  return whole.commit();
}

}  // namespace glovebox::engine

#include "gateway/steward_records.h"

namespace glovebox::gateway {

namespace {

constexpr store::Migration kMigrations[] = {{1, R"(
  CREATE TABLE items (
    work TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    taken_ms INTEGER NOT NULL
  );
  CREATE TABLE boxes (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    since_ms INTEGER NOT NULL
  );
)"}};

// An item of before the last so many has ended, or is the queue's again.
constexpr std::int64_t kKeptItems = 20'000;

}  // namespace

Result<StewardRecords> StewardRecords::open(const std::string& path) {
  TRY(db, store::Database::open(path, kMigrations), "the steward's records");
  StewardRecords records(std::move(db));
  TRY_DO(records.load(), "the steward's records");
  return records;
}

Result<void> StewardRecords::load() {
  {
    TRY(old, db_.prepare("DELETE FROM items WHERE work NOT IN "
                         "(SELECT work FROM items ORDER BY taken_ms DESC LIMIT ?)"));
    TRY_DO(old.bind(kKeptItems).run());
  }
  TRY(items, db_.prepare("SELECT work, session FROM items ORDER BY taken_ms"));
  for (;;) {
    TRY(row, items.step());
    if (!row) break;
    items_[items.text(0)].session = items.text(1);
    newest_[items.text(1)] = items.text(0);
  }
  TRY(boxes, db_.prepare("SELECT name, id, since_ms FROM boxes"));
  for (;;) {
    TRY(row, boxes.step());
    if (!row) return ok;
    boxes_[boxes.text(0)] = {boxes.text(1), boxes.integer(2)};
    if (!boxes.text(1).empty()) names_[boxes.text(1)] = boxes.text(0);
  }
}

Result<void> StewardRecords::took(const std::string& work, const std::string& session, Secret token,
                                  std::int64_t now_ms) {
  TRY(row, db_.prepare("INSERT OR REPLACE INTO items(work, session, taken_ms) VALUES (?, ?, ?)"));
  TRY_DO(row.bind(work, session, now_ms).run());
  items_[work] = {session, std::move(token)};
  if (!session.empty()) newest_[session] = work;
  return ok;
}

const StewardRecords::Item* StewardRecords::item(std::string_view work) const {
  auto found = items_.find(work);
  return found == items_.end() ? nullptr : &found->second;
}

const StewardRecords::Item* StewardRecords::item_of(std::string_view session) const {
  auto found = newest_.find(session);
  return session.empty() || found == newest_.end() ? nullptr : item(found->second);
}

Result<void> StewardRecords::save_box(const std::string& name) {
  const Box& box = boxes_[name];
  TRY(row, db_.prepare("INSERT OR REPLACE INTO boxes(name, id, since_ms) VALUES (?, ?, ?)"));
  return row.bind(name, box.id, box.since_ms).run();
}

Result<void> StewardRecords::will_make(const std::string& name, std::int64_t now_ms) {
  // One that is known already stays known: this attempt may find that it lives.
  if (!boxes_.try_emplace(name, Box{"", now_ms}).second) return ok;
  return save_box(name);
}

Result<void> StewardRecords::made(const std::string& name, const std::string& id) {
  Box& box = boxes_[name];
  names_.erase(box.id);
  box.id = id;
  names_[id] = name;
  return save_box(name);
}

Result<bool> StewardRecords::recognise(const std::string& name, const std::string& id,
                                       std::int64_t made_ms) {
  auto found = boxes_.find(name);
  if (found == boxes_.end()) return false;
  if (!found->second.id.empty()) return found->second.id == id;
  // Made before it was to be made by us: somebody else's.
  if (made_ms < found->second.since_ms) return false;
  TRY_DO(made(name, id));
  return true;
}

Result<void> StewardRecords::lost(std::string_view name_or_id) {
  auto by_id = names_.find(name_or_id);
  const std::string name = by_id == names_.end() ? std::string(name_or_id) : by_id->second;
  auto found = boxes_.find(name);
  if (found == boxes_.end()) return ok;
  TRY(row, db_.prepare("DELETE FROM boxes WHERE name = ?"));
  TRY_DO(row.bind(name).run());
  names_.erase(found->second.id);
  boxes_.erase(found);
  return ok;
}

bool StewardRecords::has_box(std::string_view id) const { return names_.contains(id); }

}  // namespace glovebox::gateway

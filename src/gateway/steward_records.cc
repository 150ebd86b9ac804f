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
)"},
                                            {2, R"(
  ALTER TABLE boxes ADD COLUMN work TEXT NOT NULL DEFAULT '';
)"}};

// The engine's answer is waited for that long (steward.cc), and some: what came later is not ours.
constexpr std::int64_t kAttemptMs = 150'000;

}  // namespace

Result<StewardRecords> StewardRecords::open(const std::string& path, std::size_t kept_items) {
  TRY(db, store::Database::open(path, kMigrations), "the steward's records");
  StewardRecords records(std::move(db), kept_items);
  TRY_DO(records.load(), "the steward's records");
  return records;
}

Result<void> StewardRecords::load() {
  TRY(items, db_.prepare("SELECT work, session FROM items ORDER BY rowid"));
  for (;;) {
    TRY(row, items.step());
    if (!row) break;
    items_[items.text(0)].session = items.text(1);
    newest_[items.text(1)] = items.text(0);
  }
  TRY(boxes, db_.prepare("SELECT name, id, since_ms, work FROM boxes"));
  for (;;) {
    TRY(row, boxes.step());
    if (!row) break;
    boxes_[boxes.text(0)] = {boxes.text(1), boxes.integer(2), boxes.text(3)};
    if (!boxes.text(1).empty()) names_[boxes.text(1)] = boxes.text(0);
  }
  return forget_old_items();
}

// In the order they were taken, whatever the clock said.
Result<void> StewardRecords::forget_old_items() {
  TRY(old, db_.prepare("DELETE FROM items WHERE work NOT IN "
                       "(SELECT work FROM items ORDER BY rowid DESC LIMIT ?) "
                       "AND work NOT IN (SELECT work FROM boxes) RETURNING work, session"));
  old.bind(static_cast<std::int64_t>(kept_items_));
  for (;;) {
    TRY(row, old.step());
    if (!row) break;
    items_.erase(old.text(0));
    auto newest = newest_.find(old.text(1));
    if (newest != newest_.end() && newest->second == old.text(0)) newest_.erase(newest);
  }
  forget_at_ = items_.size() + kept_items_ / 4;
  return ok;
}

Result<void> StewardRecords::took(const std::string& work, const std::string& session, Secret token,
                                  std::int64_t now_ms) {
  TRY(row, db_.prepare("INSERT OR REPLACE INTO items(work, session, taken_ms) VALUES (?, ?, ?)"));
  TRY_DO(row.bind(work, session, now_ms).run());
  items_[work] = {session, std::move(token)};
  if (!session.empty()) {
    std::string& newest = newest_[session];
    // What is still asked of an earlier one goes with the environment's key, as after a new start.
    if (auto before = items_.find(newest); before != items_.end() && newest != work)
      before->second.token = Secret();
    newest = work;
  }
  if (items_.size() <= forget_at_) return ok;
  return forget_old_items();
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
  TRY(row,
      db_.prepare("INSERT OR REPLACE INTO boxes(name, id, since_ms, work) VALUES (?, ?, ?, ?)"));
  return row.bind(name, box.id, box.since_ms, box.work).run();
}

Result<bool> StewardRecords::will_make(const std::string& name, std::int64_t now_ms) {
  // One that is known already stays known: this attempt may find that it lives.
  if (!boxes_.try_emplace(name, Box{"", now_ms}).second) return false;
  TRY_DO(save_box(name));
  return true;
}

Result<void> StewardRecords::not_made(const std::string& name) {
  auto found = boxes_.find(name);
  if (found == boxes_.end() || !found->second.id.empty()) return ok;
  return lost(name);
}

Result<void> StewardRecords::granted(std::string_view id, const std::string& work) {
  auto found = names_.find(id);
  if (found == names_.end() || boxes_[found->second].work == work) return ok;
  boxes_[found->second].work = work;
  return save_box(found->second);
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
  // Made before it was to be made by us, or after we had given up: somebody else's.
  const std::int64_t since_ms = found->second.since_ms;
  if (made_ms < since_ms || made_ms > since_ms + kAttemptMs) return false;
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

// What a steward has taken and made: the items it was given, the boxes it made. On disk, because a
// new uplink must still tell its boxes from all others; without any secret, because it is on disk.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/secret.h"
#include "store/database.h"

namespace glovebox::gateway {

class StewardRecords {
 public:
  // An item of before the last so many has ended, or is the queue's again.
  static constexpr std::size_t kKeptItems = 20'000;
  static Result<StewardRecords> open(const std::string& path,  // ":memory:" forgets
                                     std::size_t kept_items = kKeptItems);

  struct Item {
    std::string session;  // "" for one that is of no session
    Secret token;         // in memory only: after a new start the environment's key stands in
  };
  Result<void> took(const std::string& work, const std::string& session, Secret token,
                    std::int64_t now_ms);
  const Item* item(std::string_view work) const;
  const Item* item_of(std::string_view session) const;  // the newest; null: none, or forgotten

  // Before a box is made, then once it has an id, or was refused. Whoever is killed in between
  // knows it again by its name and by when it was made. false: by that name there is a box
  // already, or an attempt of which nobody knows what it made.
  Result<bool> will_make(const std::string& name, std::int64_t now_ms);
  Result<void> made(const std::string& name, const std::string& id);
  Result<void> not_made(const std::string& name);
  // A box's item is known for as long as the box is: by that its session's end is seen.
  Result<void> granted(std::string_view id, const std::string& work);
  // What lives by that name: whether this steward made it.
  Result<bool> recognise(const std::string& name, const std::string& id, std::int64_t made_ms);
  Result<void> lost(std::string_view name_or_id);  // there is none by that name or id any more
  bool has_box(std::string_view id) const;

 private:
  StewardRecords(store::Database db, std::size_t kept) : db_(std::move(db)), kept_items_(kept) {}
  Result<void> load();
  Result<void> forget_old_items();
  Result<void> save_box(const std::string& name);

  struct Box {
    std::string id;  // "": it was to be made
    std::int64_t since_ms = 0;
    std::string work = {};  // it was granted last
  };
  store::Database db_;
  std::size_t kept_items_, forget_at_ = 0;
  std::map<std::string, Item, std::less<>> items_;
  std::map<std::string, std::string, std::less<>> newest_;  // item of a session
  std::map<std::string, Box, std::less<>> boxes_;           // by name
  std::map<std::string, std::string, std::less<>> names_;   // by id
};

}  // namespace glovebox::gateway

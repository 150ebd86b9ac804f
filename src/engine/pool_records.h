// What the engine remembers of its pools, in the database of its sandboxes: a claim turns a row of
// one kind into a row of the other, whole or not at all.
#pragma once

#include "engine/records.h"
#include "wire/pool.h"

namespace glovebox::engine {

class PoolRecords {
 public:
  explicit PoolRecords(store::Database& db) : db_(db) {}
  Result<void> save(const wire::Pool& pool);
  // `others`: the warm ones there are, are none of what it is now, and the next start must not
  // take them for it.
  Result<void> change(const wire::Pool& pool, bool others);
  Result<void> remove(const std::string& id);
  Result<std::vector<wire::Pool>> all();  // oldest first

  struct Warm {  // a box that belongs to a pool and to nobody else
    std::string id, pool;
    uid_t base = 0;
    bool ready = false;  // its entrypoint was started
  };
  Result<void> insert_warm(const Warm& warm);
  Result<void> mark_ready(const std::string& id);
  Result<void> remove_warm(const std::string& id);
  Result<std::vector<Warm>> warm();
  Result<void> claim(Records& records, const Row& sandbox);

 private:
  store::Database& db_;
};

}  // namespace glovebox::engine

// A pool: boxes of one kind made ahead, up to the point where nothing is missing but the name of
// who asked. A claim is a row in the database and no call to the kernel.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "engine/life.h"
#include "engine/pool_records.h"

namespace glovebox::engine {

struct WarmPool {
  wire::Pool record;
  std::uint64_t version = 1;                 // of what its boxes are made of
  std::deque<std::shared_ptr<Box>> warm;     // ready, oldest first
  std::deque<std::shared_ptr<Box>> waiting;  // claims for which there is no room
  std::size_t making = 0;
  bool removed = false;
  Life::Time not_before{};  // after a failure the next try waits
  Millis pause{0};
  net::Event changed;
};

struct Pools {
  explicit Pools(store::Database& db) : records(db) {}
  PoolRecords records;
  std::map<std::string, std::shared_ptr<WarmPool>> all;
  net::Event wanted;
};

}  // namespace glovebox::engine

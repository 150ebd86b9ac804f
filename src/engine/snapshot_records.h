// What the engine remembers of snapshots, beside its sandboxes. A row is here before there are any
// files of it, and goes when there are none any more.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/secret.h"
#include "store/database.h"
#include "wire/snapshot.h"

namespace glovebox::engine {

class SnapshotRecords {
 public:
  explicit SnapshotRecords(store::Database& db) : db_(db) {}
  Result<void> insert(const wire::SnapshotRecord& record);
  Result<void> save(const wire::SnapshotRecord& record);
  Result<wire::SnapshotRecord> find(const std::string& id);
  Result<std::vector<wire::SnapshotRecord>> list();  // newest first
  // From here on nobody finds it; those that descend from it descend from its parent. More than one
  // row: for a transaction of the caller's.
  Result<void> mark_deleted(const wire::SnapshotRecord& record);
  Result<std::vector<std::string>> deleted();
  Result<void> forget(const std::string& id);

 private:
  Result<std::vector<wire::SnapshotRecord>> select(std::string_view where);
  store::Database& db_;
};

// An authentication code over `text`, as text. `purpose` keeps what is signed for one thing from
// passing for another.
std::string authenticate(std::string_view purpose, std::string_view text, const Secret& key);

// The manifest: what a snapshot is, and an authentication code over it with a key that does not
// leave this installation. It lies beside the files, so that they can be told from others'.
std::string seal_manifest(const wire::SnapshotRecord& record, const Secret& key);
// Code::forbidden for one that is not ours, or not as it was.
Result<wire::SnapshotRecord> open_manifest(std::string_view text, const Secret& key);

}  // namespace glovebox::engine

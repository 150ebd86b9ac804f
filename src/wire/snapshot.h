// Snapshots, as the API tells of them, as the engine stores them, and as their manifest seals them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "wire/sandbox.h"

namespace glovebox::wire {

struct SnapshotRecord {
  std::string id;
  std::string parent;                  // the snapshot these files descend from; empty: none
  std::string status = "in_progress";  // then "completed" or "failed"
  std::string type = "filesystem";
  std::string image_generation;  // of the image the files lie above
  std::int64_t size_bytes = 0;   // of the box's own files, as the pool counts
  std::int64_t created_at = 0;
  std::string error;       // why it failed
  bool temporary = false;  // only the way to copies: not shown, and gone after a restart
  SandboxRecord source;    // the sandbox as it was: what a restore begins with
};
std::string encode_snapshot(const SnapshotRecord& record);  // get, members of a list
std::string encode_snapshots(const std::vector<SnapshotRecord>& records);
std::string encode_snapshot_taken(const SnapshotRecord& record);  // the answer to a snapshot
// With all that the API does not show: for the database and the manifest.
std::string encode_stored_snapshot(const SnapshotRecord& record);
Result<SnapshotRecord> decode_stored_snapshot(std::string_view json);
// For our own clients: what the API shows.
Result<SnapshotRecord> decode_snapshot(std::string_view json);
Result<std::vector<SnapshotRecord>> decode_snapshots(std::string_view json);

struct TakeSnapshot {
  std::string type = "filesystem";
  bool suspended = false;  // ours: also of a sandbox that is, which stays so
};
Result<TakeSnapshot> decode_take_snapshot(std::string_view json);  // the body may be empty
Result<std::string> decode_rollback(std::string_view json);        // the snapshot's id
std::string encode_copies(const std::string& source, const std::vector<SandboxRecord>& copies);

}  // namespace glovebox::wire

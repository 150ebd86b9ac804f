// Snapshots of boxes' files: sealed copies that outlive their sandbox, of which new ones are made.
#pragma once

#include "base/secret.h"
#include "engine/snapshot_records.h"

namespace glovebox::engine {

struct Snapshots {
  SnapshotRecords records;
  Secret key;  // of manifests; does not leave the state directory
};

}  // namespace glovebox::engine

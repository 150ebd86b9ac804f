// The file that carries one snapshot elsewhere. Anybody's zstd and tar take it apart:
//
//   a frame that zstd skips   what the snapshot is: JSON
//   zstd                      a tar of the sandbox's own files (image/pack.h)
//   a frame that zstd skips   SHA-256 of all before it, and an authentication code over that
//
// The code is made with a key that does not leave this installation. A file with a right one was
// made here and is as it was; every other one is a stranger's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/secret.h"
#include "engine/sha256.h"
#include "net/task_fwd.h"
#include "wire/snapshot.h"

namespace glovebox::engine {

std::string encode_file_head(const wire::SnapshotRecord& record);
// Of a stranger: what it says of the sandbox must be what a create could ask for.
Result<wire::SnapshotRecord> decode_file_head(std::string_view json);
std::string encode_file_tail(const std::string& sha256, const Secret& key);

// Takes such a file apart as it comes.
class SnapshotFileReader {
 public:
  using Source = std::function<Task<std::string>()>;  // the next piece; empty at the end
  explicit SnapshotFileReader(Source source) : source_(std::move(source)) {}

  Task<wire::SnapshotRecord> head();  // first
  Task<std::string> archive();        // the next piece of the tar; empty at its end
  // Last. True: it was made here. An error where it is damaged or not whole.
  Result<bool> check(const Secret& key);

 private:
  Task<void> fill(std::size_t bytes);
  Source source_;
  std::string held_;  // read and not given on: at the end the tail
  Sha256 hash_;
  bool ended_ = false;
};

}  // namespace glovebox::engine

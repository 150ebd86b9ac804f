// The rules of a session's memory stores: a folder for the agent, a list of memories at the
// service, and what is done when the two differ. Everything here is a function of its arguments;
// StoreSync acts on it.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "wire/agents.h"

namespace glovebox::runner {

using wire::MemoryStore;
std::vector<MemoryStore> memory_stores_of(std::string_view session_json);
// Where the agent is told to look; below the work directory where it is not told. A path that is
// not clean is an error, and not put elsewhere: the agent would read an empty folder.
Result<std::string> memory_root(const MemoryStore& store, std::string_view work_directory);
bool overlap(std::string_view root, std::string_view other);  // one is the other, or inside it

// A file that says whose folder it is. Without it no file is taken for a memory, and no missing
// file for a deletion.
inline constexpr std::string_view kMemoryMarker = ".anthropic-memory-store";
std::string memory_marker(std::string_view store_id);

std::string sha256_hex(std::string_view bytes);

using Hashes = std::map<std::string, std::string>;  // by path, relative to the folder

// A memory's path without its first "/", if a file can have it.
std::optional<std::string> memory_file(std::string_view path);
// Left by a write that was cut off, by us or by the official worker: ".fs-<hex>.tmp".
bool unfinished_write(std::string_view path);

enum class FolderState {
  ours,
  empty,    // and without its marker: made anew
  foreign,  // left as it is: whoever filled it did not mean us
};
FolderState folder_state(const Hashes& with_marker, std::string_view store_id);

// One path, at three places: on disk, as of the last sync, at the service.
struct MemoryState {
  std::optional<std::string> local, base, remote;
  std::optional<std::string> refused;  // what the service would not take
  bool read_only = false;
};
enum class MemoryAction {
  none,
  fetch,          // the service's content to the file
  create,         // a memory with the file's content
  update,         // the memory, if it still is `remote`
  remove_local,   // the file, if it still is `local`
  remove_remote,  // the memory, if the file stays away and it still is `remote`
};
struct MemoryDecision {
  MemoryAction action = MemoryAction::none;
  std::optional<std::string> base;  // from now on, until the action has succeeded
  std::string_view notice = {};     // worth a line in the log
};
MemoryDecision decide(const MemoryState& state);

// A deletion is believed when the file has been away for so long, and so many at a time: folders
// get lost in more ways than files are deleted.
inline constexpr Millis kDeletionWait{30'000};
std::size_t deletion_cap(std::size_t known);

// What came of an upload.
enum class UploadEnd {
  saved,
  overtaken,  // somebody else's content is there now, and stays
  gone,       // what was to be updated is not there any more: create it
  refused,    // and will be, until the file changes
  later,
};
UploadEnd upload_end(bool update, int status);  // of one that failed; 0: no answer

}  // namespace glovebox::runner

// What the store keeps of memory stores: the stores, the memories in them, and a version for each
// change of one. The text of a memory is kept once, with the version that brought it.
#pragma once

#include "brain/records.h"

namespace glovebox::brain {

struct MemoryStoreRow {
  std::string id, name, description;
  std::string metadata = "{}";
  Micros created_at = 0, updated_at = 0, archived_at = 0;
};

struct MemoryRow {
  std::string id, store_id, path;
  std::string version_id;  // of the version that has the present text
  std::string sha256;      // of the text, in hex
  std::int64_t size = 0;
  std::optional<std::string> content;  // only where it was asked for
  Micros created_at = 0, updated_at = 0;
};

struct MemoryActor {
  std::string type, id;  // "session_actor" and a session's id, or "api_actor" and a key's
};

struct MemoryVersionRow {
  std::string id, store_id, memory_id;
  std::string operation;  // created, modified, deleted
  std::string path;       // "": redacted
  std::string sha256;     // "": there is no text (any more): deleted or redacted
  std::int64_t size = 0;
  std::optional<std::string> content;
  MemoryActor by;
  Micros created_at = 0;
  MemoryActor redacted_by;
  Micros redacted_at = 0;
};

// Memories are listed by their paths, byte by byte.
struct MemoryQuery {
  std::string prefix = "/";  // ends with a slash
  std::string after;         // exclusive; need not be a path that is there
  int limit = 20;
  bool with_content = false;
};

struct MemoryVersionQuery : ListQuery {
  std::string memory_id, operation, actor_type, actor_id;  // empty: all
  bool with_content = false;
};

class MemoryRecords {
 public:
  virtual ~MemoryRecords() = default;

  virtual Result<void> add_memory_store(const MemoryStoreRow& row) = 0;
  virtual Result<MemoryStoreRow> memory_store(std::string_view id) = 0;
  virtual Result<void> save_memory_store(const MemoryStoreRow& row) = 0;
  virtual Result<void> remove_memory_store(std::string_view id) = 0;  // with all that is in it
  virtual Result<std::vector<Listed<MemoryStoreRow>>> memory_stores(const ListQuery& query) = 0;

  virtual Result<MemoryRow> memory(std::string_view store, std::string_view id,
                                   bool with_content) = 0;
  virtual Result<std::vector<MemoryRow>> memories(std::string_view store,
                                                  const MemoryQuery& query) = 0;
  virtual Result<std::int64_t> count_memories(std::string_view store) = 0;
  // One other than `except` that is where `path` would be, above it, or below it.
  virtual Result<std::optional<MemoryRow>> memory_in_the_way(std::string_view store,
                                                             std::string_view path,
                                                             std::string_view except) = 0;
  // Each of these leaves a version: of the row's version_id, or of an id of its own.
  virtual Result<void> add_memory(const MemoryRow& row, const MemoryActor& by) = 0;
  virtual Result<void> change_memory(const MemoryRow& row, const MemoryActor& by) = 0;
  virtual Result<void> remove_memory(const MemoryRow& row, std::string_view version_id,
                                     const MemoryActor& by, Micros at) = 0;

  virtual Result<MemoryVersionRow> memory_version(std::string_view store, std::string_view id,
                                                  bool with_content) = 0;
  virtual Result<std::vector<Listed<MemoryVersionRow>>> memory_versions(
      std::string_view store, const MemoryVersionQuery& query) = 0;
  // Code::invalid while it is what a memory consists of.
  virtual Result<void> redact_memory_version(std::string_view store, std::string_view id,
                                             const MemoryActor& by, Micros at) = 0;
  // Those older than `before` which no memory consists of.
  virtual Result<void> sweep_memory_versions(Micros before) = 0;
};

}  // namespace glovebox::brain

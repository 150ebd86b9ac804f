// The memories in a store: texts with a path and a hash. Each answer is worked out between two
// awaits of the loop's one thread, so what is looked up first still holds when it is written.
#include <algorithm>

#include "brain/api.h"
#include "brain/api_body.h"
#include "brain/ids.h"
#include "brain/memory_path.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxContent = 102'400;
constexpr std::int64_t kMaxMemories = 2'000;  // of one store

std::string memory_json(const MemoryRow& row) {
  return str(R"({"id":")", row.id, R"(","type":"memory","memory_store_id":")", row.store_id,
             R"(","memory_version_id":")", row.version_id, R"(","path":)", text_json(row.path),
             R"(,"content_sha256":")", row.sha256, R"(","content_size_bytes":)", row.size,
             R"(,"content":)", text_or_null_json(row.content), R"(,"created_at":)",
             time_json(row.created_at), R"(,"updated_at":)", time_json(row.updated_at), '}');
}

http::Response shown(MemoryRow row, bool full) {
  if (!full) row.content.reset();
  return http::json(200, memory_json(row));
}

// The API has error types of its own for these two, where others have codes.
http::Response path_conflict(const Call& call, const MemoryRow& other) {
  return http::json(409, typed_error_json("memory_path_conflict_error",
                                          str("path: ", other.path,
                                              " is a memory already, and would be the same "
                                              "file, or a folder of the other one"),
                                          str(R"("conflicting_memory_id":")", other.id,
                                              R"(","conflicting_path":)", text_json(other.path)),
                                          call.request.request_id));
}
http::Response changed_meanwhile(const Call& call, const MemoryRow& row) {
  return http::json(409, typed_error_json("memory_precondition_failed_error",
                                          str("memory ", row.id, " has another content_sha256"), "",
                                          call.request.request_id));
}

Result<void> take_content(Members& members, MemoryRow& row) {
  TRY(content, members.text("content", kMaxContent));
  if (!content) return ok;
  row.sha256 = hash_of(*content);
  row.size = static_cast<std::int64_t>(content->size());
  row.content = std::move(*content);
  return ok;
}

Result<void> take_path(Members& members, MemoryRow& row) {
  TRY(path, members.text("path", kMaxContent));
  if (!path) return ok;
  TRY_DO(check_memory_path(*path));
  row.path = std::move(*path);
  return ok;
}

Result<std::optional<std::string>> precondition_of(Members& members) {
  TRY(precondition, members.object("precondition"));
  if (!precondition) return std::nullopt;
  TRY(type, required_text(*precondition, "type", 64));
  if (type != "content_sha256") return precondition->wrong("type", "must be content_sha256");
  TRY(hash, required_text(*precondition, "content_sha256", 64));
  precondition->done();
  return hash;
}

Error archived(const MemoryStoreRow& store) {
  return Error{Code::invalid, str("memory store ", store.id, " is archived: it can only be read")};
}

// What is next after `after`: a memory, or, one level deep, the folder that it is in.
struct Entry {
  std::string json, place;
};
Entry entry_of(const MemoryRow& row, std::string_view prefix, bool one_level) {
  const auto slash = one_level ? row.path.find('/', prefix.size()) : row.path.npos;
  if (slash == row.path.npos) return {memory_json(row), row.path};
  const std::string folder = row.path.substr(0, slash + 1);
  // No path has the byte 0xff: everything in the folder comes before this.
  return {str(R"({"type":"memory_prefix","path":)", text_json(folder), '}'), folder + '\xff'};
}

}  // namespace

MemoryActor actor_of(const Credential& who) {
  if (who.kind == Who::session) return {"session_actor", who.session_id};
  return {"api_actor", who.id};
}

Reply create_memory(Call call) {
  MemoryRecords& memories = call.api.memories;
  CO_TRY(store, memory_store_of(call, MemoryUse::write));
  if (store.archived_at) co_return archived(store);
  CO_TRY(full, full_view(call.query, false));
  CO_TRY(body, body_of(call.request));
  const json::value whole(std::move(body));
  CO_TRY(members, Members::of(whole));
  const Micros now = now_us();
  MemoryRow row{.id = new_id("mem"),
                .store_id = store.id,
                .version_id = new_id("memver"),
                .created_at = now,
                .updated_at = now};
  CO_TRY_DO(take_path(members, row));
  CO_TRY_DO(take_content(members, row));
  members.done();
  if (row.path.empty()) co_return members.wrong("path", "is required");
  if (!row.content) co_return members.wrong("content", "is required");
  CO_TRY(other, memories.memory_in_the_way(store.id, row.path, ""));
  if (other) co_return path_conflict(call, *other);
  CO_TRY(count, memories.count_memories(store.id));
  if (count >= kMaxMemories)
    co_return Error{Code::invalid, str("memory store ", store.id, " has ", kMaxMemories,
                                       " memories, and can have no more")};
  CO_TRY_DO(memories.add_memory(row, actor_of(call.who)));
  co_return shown(std::move(row), full);
}

Reply list_memories(Call call) {
  CO_TRY(store, memory_store_of(call, MemoryUse::read));
  CO_TRY(full, full_view(call.query, false));
  CO_TRY(depth, call.query.integer("depth", 0, 1));
  const bool one_level = depth == 1;
  MemoryQuery query{.prefix = call.query.text("path_prefix").value_or("/"), .with_content = full};
  if (!query.prefix.starts_with('/') || !query.prefix.ends_with('/'))
    co_return Error{Code::invalid, "path_prefix: must start and end with /"};
  const std::string filters = str("memories ", store.id, ' ', one_level, ' ', query.prefix);
  if (auto page = call.query.text("page")) {
    CO_TRY(after, decode_place(*page, filters));
    query.after = std::move(after);
  }
  CO_TRY(asked, call.query.integer("limit", 1, kMaxPage));
  const auto limit = std::min(asked.value_or(20), std::int64_t{memory_page_limit(full)});
  // Whole pages, but where a folder may take the place of many memories.
  query.limit = one_level ? 1 : static_cast<int>(limit) + 1;
  std::string data, next = "null";
  for (std::int64_t listed = 0;;) {
    CO_TRY(rows, call.api.memories.memories(store.id, query));
    for (const MemoryRow& row : rows) {
      if (listed == limit) next = str('"', encode_place(query.after, filters), '"');
      if (listed++ == limit) break;
      Entry entry = entry_of(row, query.prefix, one_level);
      data += str(data.empty() ? "" : ",", entry.json);
      query.after = std::move(entry.place);
    }
    if (rows.empty() || !one_level || listed > limit) break;
  }
  co_return http::json(200, str(R"({"data":[)", data, R"(],"next_page":)", next, '}'));
}

Reply get_memory(Call call) {
  CO_TRY(store, memory_store_of(call, MemoryUse::read));
  CO_TRY(full, full_view(call.query, true));
  CO_TRY(row, call.api.memories.memory(store.id, call.param("memory"), full));
  co_return shown(std::move(row), full);
}

Reply update_memory(Call call) {
  MemoryRecords& memories = call.api.memories;
  CO_TRY(store, memory_store_of(call, MemoryUse::write));
  if (store.archived_at) co_return archived(store);
  CO_TRY(full, full_view(call.query, false));
  CO_TRY(before, memories.memory(store.id, call.param("memory"), true));
  CO_TRY(body, body_of(call.request));
  const json::value whole(std::move(body));
  CO_TRY(members, Members::of(whole));
  MemoryRow row = before;
  CO_TRY_DO(take_path(members, row));
  CO_TRY_DO(take_content(members, row));
  CO_TRY(expected, precondition_of(members));
  members.done();
  // Also with a stale precondition: whoever repeats a request whose answer got lost is served.
  if (row.path == before.path && row.sha256 == before.sha256)
    co_return shown(std::move(before), full);
  if (expected && *expected != before.sha256) co_return changed_meanwhile(call, before);
  CO_TRY(other, memories.memory_in_the_way(store.id, row.path, row.id));
  if (other) co_return path_conflict(call, *other);
  row.version_id = new_id("memver");
  row.updated_at = now_us();
  CO_TRY_DO(memories.change_memory(row, actor_of(call.who)));
  co_return shown(std::move(row), full);
}

Reply delete_memory(Call call) {
  CO_TRY(store, memory_store_of(call, MemoryUse::write));
  CO_TRY(row, call.api.memories.memory(store.id, call.param("memory"), false));
  auto expected = call.query.text("expected_content_sha256");
  if (expected && *expected != row.sha256) co_return changed_meanwhile(call, row);
  CO_TRY_DO(call.api.memories.remove_memory(row, new_id("memver"), actor_of(call.who), now_us()));
  co_return http::json(200, str(R"({"id":")", row.id, R"(","type":"memory_deleted"})"));
}

}  // namespace glovebox::brain

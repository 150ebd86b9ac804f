// What memories were before, and who changed them.
#include <algorithm>

#include "brain/api.h"
#include "brain/api_body.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

std::string actor_json(const MemoryActor& actor) {
  if (actor.type.empty()) return "null";
  const auto key = actor.type == "session_actor" ? "session_id" : "api_key_id";
  return str(R"({"type":")", actor.type, R"(",")", key, R"(":)", text_json(actor.id), '}');
}

std::string version_json(const MemoryVersionRow& row) {
  const bool has_text = !row.sha256.empty();
  return str(R"({"id":")", row.id, R"(","type":"memory_version","memory_id":")", row.memory_id,
             R"(","memory_store_id":")", row.store_id, R"(","operation":")", row.operation,
             R"(","path":)", row.path.empty() ? "null" : text_json(row.path),
             R"(,"content_sha256":)", has_text ? text_json(row.sha256) : "null",
             R"(,"content_size_bytes":)", has_text ? str(row.size) : "null", R"(,"content":)",
             text_or_null_json(row.content), R"(,"created_by":)", actor_json(row.by),
             R"(,"created_at":)", time_json(row.created_at), R"(,"redacted_by":)",
             actor_json(row.redacted_by), R"(,"redacted_at":)", time_json(row.redacted_at), '}');
}

struct VersionList {
  MemoryVersionQuery query;
  std::string filters;
  bool none = false;  // asks for what is never here
};

Result<VersionList> version_list(const std::string& store, const Query& query) {
  VersionList list;
  TRY(full, full_view(query, false));
  TRY(created, query.times("created_at"));
  list.query.with_content = full;
  list.query.created_from = created.from;
  list.query.created_to = created.to;
  list.query.memory_id = query.text("memory_id").value_or("");
  list.query.operation = query.text("operation").value_or("");
  constexpr std::string_view kOperations[] = {"", "created", "modified", "deleted"};
  if (std::ranges::find(kOperations, list.query.operation) == std::end(kOperations))
    return Error{Code::invalid, "operation: must be created, modified or deleted"};
  auto session = query.text("session_id"), key = query.text("api_key_id");
  if (session) list.query.actor_type = "session_actor", list.query.actor_id = *session;
  if (key) list.query.actor_type = "api_actor", list.query.actor_id = *key;
  list.none = (session && key) || query.text("service_account_id");
  list.filters = str("memory_versions ", store, ' ', list.query.memory_id, ' ',
                     list.query.operation, ' ', list.query.actor_type, ' ', list.query.actor_id,
                     ' ', created.from.value_or(0), ' ', created.to.value_or(0));
  return list;
}

}  // namespace

Reply list_memory_versions(Call call) {
  CO_TRY(store, memory_store_of(call, MemoryUse::read));
  CO_TRY(list, version_list(store.id, call.query));
  CO_TRY(page, page_of(call.query, list.filters));
  page.limit = std::min(page.limit, memory_page_limit(list.query.with_content));
  list.query.from = page.cursor.number;
  list.query.limit = page.limit + 1;
  std::vector<Listed<MemoryVersionRow>> rows;
  if (!list.none) {
    CO_TRY(found, call.api.memories.memory_versions(store.id, list.query));
    rows = std::move(found);
  }
  co_return page_json(std::move(rows), page, list.filters, version_json);
}

Reply get_memory_version(Call call) {
  CO_TRY(store, memory_store_of(call, MemoryUse::read));
  CO_TRY(full, full_view(call.query, true));
  CO_TRY(row, call.api.memories.memory_version(store.id, call.param("version"), full));
  co_return http::json(200, version_json(row));
}

Reply redact_memory_version(Call call) {
  CO_TRY(store, memory_store_of(call, MemoryUse::write));
  const std::string id = call.param("version");
  CO_TRY_DO(call.api.memories.redact_memory_version(store.id, id, actor_of(call.who), now_us()));
  CO_TRY(row, call.api.memories.memory_version(store.id, id, true));
  co_return http::json(200, version_json(row));
}

}  // namespace glovebox::brain

// Memory stores: folders of texts that outlive sessions.
#include <algorithm>

#include "base/log.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "brain/ids.h"
#include "brain/session_memory.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxName = 255, kMaxDescription = 1024;

std::string store_json(const MemoryStoreRow& row) {
  return str(R"({"id":")", row.id, R"(","type":"memory_store","name":)", text_json(row.name),
             R"(,"description":)", text_json(row.description), R"(,"metadata":)", row.metadata,
             R"(,"created_at":)", time_json(row.created_at), R"(,"updated_at":)",
             time_json(row.updated_at), R"(,"archived_at":)", time_json(row.archived_at), '}');
}

Result<void> take_members(Members& members, MemoryStoreRow& row) {
  if (row.name.empty() || (members.raw().contains("name") && !members.is_null("name"))) {
    TRY(name, required_text(members, "name", kMaxName));
    if (std::ranges::any_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
      return members.wrong("name", "must not hold control characters");
    row.name = std::move(name);
  }
  TRY(description, text_up_to(members, "description", kMaxDescription));
  if (description) row.description = std::move(*description);
  TRY(metadata, patch_metadata(members, std::string_view(row.metadata)));
  row.metadata = json::serialize(metadata);
  members.done();
  return ok;
}

}  // namespace

Result<MemoryStoreRow> memory_store_of(const Call& call, MemoryUse use) {
  const std::string id = call.param("store");
  if (call.who.kind == Who::session) {
    TRY(session, call.api.store.session(call.who.session_id));
    auto access = memory_access(session.resources, id);
    if (!access) return Error{Code::not_found, str("there is no memory store ", id)};
    if (use == MemoryUse::write) {
      TRY_DO(check_newest(call));
      if (*access != "read_write")
        return Error{Code::forbidden, str("the session may only read memory store ", id)};
    }
  }
  return call.api.memories.memory_store(id);
}

Result<bool> full_view(const Query& query, bool otherwise) {
  const std::string view = query.text("view").value_or(otherwise ? "full" : "basic");
  if (view != "full" && view != "basic") return Error{Code::invalid, "view: must be basic or full"};
  return view == "full";
}

Reply create_memory_store(Call call) {
  CO_TRY(body, body_of(call.request));
  const json::value whole(std::move(body));
  CO_TRY(members, Members::of(whole));
  const Micros now = now_us();
  MemoryStoreRow row{.id = new_id("memstore"), .created_at = now, .updated_at = now};
  CO_TRY_DO(take_members(members, row));
  CO_TRY_DO(and_tell(call.api, "memory_store.created", row.id,
                     [&] { return call.api.memories.add_memory_store(row); }));
  log::info("memory_store.created", {{"store", row.id}, {"name", row.name}});
  co_return http::json(200, store_json(row));
}

Reply list_memory_stores(Call call) {
  CO_TRY(archived, call.query.flag("include_archived"));
  CO_TRY(created, call.query.times("created_at"));
  const std::string filters =
      str("memory_stores ", archived, ' ', created.from.value_or(0), ' ', created.to.value_or(0));
  CO_TRY(page, page_of(call.query, filters));
  CO_TRY(rows, call.api.memories.memory_stores({.from = page.cursor.number,
                                                .limit = page.limit + 1,
                                                .include_archived = archived,
                                                .created_from = created.from,
                                                .created_to = created.to}));
  co_return page_json(std::move(rows), page, filters, store_json);
}

Reply get_memory_store(Call call) {
  CO_TRY(row, memory_store_of(call, MemoryUse::read));
  co_return http::json(200, store_json(row));
}

Reply update_memory_store(Call call) {
  CO_TRY(row, memory_store_of(call, MemoryUse::write));
  if (row.archived_at) co_return Error{Code::invalid, str("memory store ", row.id, " is archived")};
  CO_TRY(body, body_of(call.request));
  const json::value whole(std::move(body));
  CO_TRY(members, Members::of(whole));
  CO_TRY_DO(take_members(members, row));
  row.updated_at = now_us();
  CO_TRY_DO(call.api.memories.save_memory_store(row));
  co_return http::json(200, store_json(row));
}

Reply delete_memory_store(Call call) {
  CO_TRY(row, memory_store_of(call, MemoryUse::write));
  CO_TRY_DO(and_tell(call.api, "memory_store.deleted", row.id,
                     [&] { return call.api.memories.remove_memory_store(row.id); }));
  log::info("memory_store.deleted", {{"store", row.id}});
  co_return http::json(200, str(R"({"id":")", row.id, R"(","type":"memory_store_deleted"})"));
}

Reply archive_memory_store(Call call) {
  CO_TRY(row, memory_store_of(call, MemoryUse::write));
  if (!row.archived_at) {
    row.archived_at = row.updated_at = now_us();
    CO_TRY_DO(and_tell(call.api, "memory_store.archived", row.id,
                       [&] { return call.api.memories.save_memory_store(row); }));
    log::info("memory_store.archived", {{"store", row.id}});
  }
  co_return http::json(200, store_json(row));
}

}  // namespace glovebox::brain

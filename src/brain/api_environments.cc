#include "base/log.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "brain/ids.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxName = 256, kMaxDescription = 2048;

std::string environment_json(const EnvironmentRow& row) {
  std::string scope = row.scope.empty() ? "" : str(R"(,"scope":)", text_json(row.scope));
  return str(R"({"id":")", row.id, R"(","type":"environment","name":)", text_json(row.name),
             R"(,"description":)", text_or_null_json(row.description),
             R"(,"config":{"type":"self_hosted"},"metadata":)", row.metadata, scope,
             R"(,"created_at":)", time_json(row.created_at), R"(,"updated_at":)",
             time_json(row.updated_at), R"(,"archived_at":)", time_json(row.archived_at), '}');
}

Result<void> check_config(Members& members, bool is_new) {
  TRY(config, members.object("config"));
  if (!config) return ok;  // self_hosted: there is nothing else
  TRY(type, required_text(*config, "type", 64));
  config->done();
  if (type == "self_hosted") return ok;
  if (!is_new)
    return Error{Code::invalid, "config.type: never changes", "invalid_config_type_change"};
  if (type == "cloud")
    return config->wrong("type", "this server has no cloud environments: take self_hosted");
  return config->wrong("type", "must be self_hosted");
}

Result<void> take_members(Members& members, EnvironmentRow& row, bool is_new) {
  if (is_new || members.raw().contains("name")) {
    TRY(name, required_text(members, "name", kMaxName));
    row.name = std::move(name);
  }
  TRY_DO(check_config(members, is_new));
  json::value current = row.description ? json::value(*row.description) : json::value(nullptr);
  TRY(description, text_or_null(members, "description", kMaxDescription, std::move(current)));
  row.description.reset();
  if (description.is_string()) row.description = std::string(description.get_string());
  TRY(metadata, patch_metadata(members, std::string_view(row.metadata)));
  row.metadata = json::serialize(metadata);
  TRY(scope, members.text("scope", 64));
  if (scope && *scope != "organization" && *scope != "account")
    return members.wrong("scope", "must be organization or account");
  if (scope) row.scope = *scope;
  members.done();
  return ok;
}

}  // namespace

Reply create_environment(Call call) {
  CO_TRY(body, body_of(call.request));
  const json::value whole(std::move(body));
  CO_TRY(members, Members::of(whole));
  const Micros now = now_us();
  EnvironmentRow row{.id = new_id("env"), .created_at = now, .updated_at = now};
  CO_TRY_DO(take_members(members, row, true));
  CO_TRY_DO(and_tell(call.api, "environment.created", row.id,
                     [&] { return call.api.store.add_environment(row); }));
  log::info("environment.created", {{"environment", row.id}, {"name", row.name}});
  co_return http::json(200, environment_json(row));
}

Reply list_environments(Call call) {
  CO_TRY(archived, call.query.flag("include_archived"));
  const std::string filters = str("environments ", archived);
  CO_TRY(page, page_of(call.query, filters));
  CO_TRY(rows,
         call.api.store.environments(
             {.from = page.cursor.number, .limit = page.limit + 1, .include_archived = archived}));
  co_return page_json(std::move(rows), page, filters, environment_json);
}

Reply get_environment(Call call) {
  CO_TRY(row, environment_of(call));
  co_return http::json(200, environment_json(row));
}

Reply update_environment(Call call) {
  CO_TRY(row, environment_of(call));
  if (row.archived_at)
    co_return Error{Code::invalid, str("environment ", row.id, " is archived"),
                    "environment_archived"};
  CO_TRY(body, body_of(call.request));
  const json::value whole(std::move(body));
  CO_TRY(members, Members::of(whole));
  CO_TRY_DO(take_members(members, row, false));
  row.updated_at = now_us();
  CO_TRY_DO(and_tell(call.api, "environment.updated", row.id,
                     [&] { return call.api.store.save_environment(row); }));
  co_return http::json(200, environment_json(row));
}

Reply delete_environment(Call call) {
  CO_TRY(row, environment_of(call));
  CO_TRY(used, call.api.store.has_sessions(row.id));
  if (used)
    co_return Error{Code::conflict,
                    "the environment has sessions: delete them first, or archive it"};
  CO_TRY_DO(and_tell(call.api, "environment.deleted", row.id,
                     [&] { return call.api.store.remove_environment(row.id); }));
  log::info("environment.deleted", {{"environment", row.id}});
  co_return http::json(200, str(R"({"id":")", row.id, R"(","type":"environment_deleted"})"));
}

Reply archive_environment(Call call) {
  CO_TRY(row, environment_of(call));
  if (!row.archived_at) {
    row.archived_at = row.updated_at = now_us();
    CO_TRY_DO(and_tell(call.api, "environment.archived", row.id,
                       [&] { return call.api.store.save_environment(row); }));
    log::info("environment.archived", {{"environment", row.id}});
  }
  co_return http::json(200, environment_json(row));
}

}  // namespace glovebox::brain

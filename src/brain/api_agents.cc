#include "base/log.h"
#include "brain/agent_definition.h"
#include "brain/agent_skills.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "brain/ids.h"
#include "net/task.h"
#include "wire/to_json.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

Result<json::object> definition_of(const AgentRow& row) {
  TRY(value, wire::parse_json(row.definition), "stored agent ", row.id);
  if (!value.is_object()) return Error{Code::internal, str("stored agent ", row.id, " is broken")};
  return std::move(value.get_object());
}

// The stored definition is a JSON object already: what stands around it is put into its braces.
std::string agent_json(const AgentRow& row) {
  return str(R"({"id":")", row.id, R"(","type":"agent","version":)", row.version, ',',
             std::string_view(row.definition).substr(1, row.definition.size() - 2),
             R"(,"created_at":)", time_json(row.created_at), R"(,"updated_at":)",
             time_json(row.updated_at), R"(,"archived_at":)", time_json(row.archived_at), '}');
}

Result<std::optional<std::int64_t>> version_of(const json::object& body) {
  const json::value whole(body);
  TRY(members, wire::Members::of(whole));
  return members.integer("version", 1, std::numeric_limits<std::int64_t>::max());
}

}  // namespace

Reply create_agent(Call call) {
  CO_TRY(body, body_of(call.request));
  CO_TRY(definition, make_definition(body));
  CO_TRY_DO(check_skills(call.api.skills, definition));
  const Micros now = now_us();
  AgentRow row{.id = new_id("agent"),
               .name = std::string(definition["name"].as_string()),
               .definition = wire::to_json(definition),
               .created_at = now,
               .updated_at = now};
  CO_TRY_DO(
      and_tell(call.api, "agent.created", row.id, [&] { return call.api.store.add_agent(row); }));
  log::info("agent.created", {{"agent", row.id}, {"name", row.name}});
  co_return http::json(200, agent_json(row));
}

Reply list_agents(Call call) {
  CO_TRY(archived, call.query.flag("include_archived"));
  CO_TRY(created, call.query.times("created_at"));
  const std::string filters =
      str("agents ", archived, ' ', created.from.value_or(0), ' ', created.to.value_or(0));
  CO_TRY(page, page_of(call.query, filters));
  CO_TRY(rows, call.api.store.agents({.from = page.cursor.number,
                                      .limit = page.limit + 1,
                                      .include_archived = archived,
                                      .created_from = created.from,
                                      .created_to = created.to}));
  co_return page_json(std::move(rows), page, filters, agent_json);
}

Reply get_agent(Call call) {
  CO_TRY(version, call.query.integer("version", 1, std::numeric_limits<std::int64_t>::max()));
  CO_TRY(row, call.api.store.agent(call.param("agent"), version));
  co_return http::json(200, agent_json(row));
}

Reply update_agent(Call call) {
  CO_TRY(row, call.api.store.agent(call.param("agent")));
  if (row.archived_at) co_return Error{Code::invalid, str("agent ", row.id, " is archived")};
  CO_TRY(body, body_of(call.request));
  CO_TRY(expected, version_of(body));
  if (expected && *expected != row.version)
    co_return Error{Code::conflict,
                    str("version: agent ", row.id, " is at version ", row.version, " by now")};
  CO_TRY(current, definition_of(row));
  CO_TRY(changed, change_definition(current, body));
  if (changed.at("skills") != current.at("skills"))
    CO_TRY_DO(check_skills(call.api.skills, changed));
  if (changed == current) co_return http::json(200, agent_json(row));
  ++row.version;
  row.name = changed["name"].as_string();
  row.definition = wire::to_json(changed);
  row.updated_at = now_us();
  CO_TRY_DO(and_tell(call.api, "agent.updated", row.id,
                     [&] { return call.api.store.add_agent_version(row); }));
  log::info("agent.updated", {{"agent", row.id}, {"version", row.version}});
  co_return http::json(200, agent_json(row));
}

Reply archive_agent(Call call) {
  CO_TRY(row, call.api.store.agent(call.param("agent")));
  if (!row.archived_at) {
    row.archived_at = now_us();
    CO_TRY_DO(and_tell(call.api, "agent.archived", row.id,
                       [&] { return call.api.store.archive_agent(row.id, row.archived_at); }));
    log::info("agent.archived", {{"agent", row.id}});
  }
  co_return http::json(200, agent_json(row));
}

Reply list_agent_versions(Call call) {
  const std::string id = call.param("agent"), filters = "versions " + id;
  CO_TRY_DO(call.api.store.agent(id));
  CO_TRY(page, page_of(call.query, filters));
  CO_TRY(rows,
         call.api.store.agent_versions(id, {.from = page.cursor.number, .limit = page.limit + 1}));
  co_return page_json(std::move(rows), page, filters, agent_json);
}

}  // namespace glovebox::brain

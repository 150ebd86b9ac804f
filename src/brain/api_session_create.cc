// POST /v1/sessions: which agent, changed how, where, and what it is told first.
#include "brain/agent_definition.h"
#include "brain/agent_skills.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "brain/session_memory.h"
#include "net/task.h"
#include "wire/to_json.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxTitle = 1000, kMaxId = 256;

struct Chosen {
  AgentRow row;
  json::object snapshot;
};

// "agent_…", {type: agent, id, version?}, {type: agent_with_overrides, id, version?, …}.
Result<Chosen> choose_agent(Store& store, SkillRecords& skills, Members& body) {
  const json::value* given = body.take("agent");
  if (!given) return body.wrong("agent", "is required");
  std::string id, type = "agent";
  std::optional<std::int64_t> version;
  if (given->is_string()) {
    id = given->get_string();
  } else {
    TRY(agent, Members::of(*given, "agent"));
    TRY(kind, required_text(agent, "type", 64));
    if (kind != "agent" && kind != "agent_with_overrides")
      return agent.wrong("type", "must be agent or agent_with_overrides");
    TRY(given_id, required_text(agent, "id", kMaxId));
    TRY(number, agent.integer("version", 1, std::numeric_limits<std::int64_t>::max()));
    type = std::move(kind);
    id = std::move(given_id);
    version = number;
    if (type == "agent") agent.done();
  }
  TRY(row, store.agent(id, version), "agent");
  if (row.archived_at) return Error{Code::invalid, str("agent ", id, " is archived")};
  TRY(stored, wire::parse_json(row.definition), "stored agent ", id);
  json::object definition = stored.is_object() ? stored.get_object() : json::object{};
  if (type == "agent_with_overrides") {
    TRY(changed, override_definition(std::move(definition), given->get_object()));
    definition = std::move(changed);
  }
  TRY_DO(check_runnable(definition));
  TRY_DO(pin_skills(skills, definition), "agent");
  json::object snapshot = session_agent(row, std::move(definition));
  return Chosen{std::move(row), std::move(snapshot)};
}

Result<json::array> resources_of(MemoryRecords& stores, Members& body) {
  const json::value* resources = body.take("resources");
  if (!resources) return json::array{};
  if (!resources->is_array()) return body.wrong("resources", "must be an array");
  return attach_resources(stores, resources->get_array());
}

Result<EnvironmentRow> choose_environment(Store& store, Members& body) {
  TRY(id, required_text(body, "environment_id", kMaxId));
  TRY(row, store.environment(id), "environment_id");
  if (row.archived_at)
    return Error{Code::invalid, str("environment ", id, " is archived"), "environment_archived"};
  return row;
}

}  // namespace

Reply create_session(Call call) {
  ApiState& api = call.api;
  CO_TRY(parsed, body_of(call.request));
  const json::value whole(std::move(parsed));
  CO_TRY(body, Members::of(whole));
  CO_TRY(agent, choose_agent(api.store, api.skills, body));
  CO_TRY(environment, choose_environment(api.store, body));
  CO_TRY(title, text_up_to(body, "title", kMaxTitle));
  CO_TRY(metadata, metadata_of(body));
  CO_TRY(resources, resources_of(api.memories, body));
  const json::value* vaults = body.take("vault_ids");
  if (vaults && !(vaults->is_array() && vaults->get_array().empty()))
    co_return later("vault_ids: vaults");
  if (body.take("budget")) co_return later("budget: budgets");
  const json::value* first = body.take("initial_events");
  if (first && !first->is_array()) co_return body.wrong("initial_events", "must be an array");
  body.done();
  const json::array none;
  const json::array& events = first ? first->get_array() : none;
  if (!events.empty() &&
      api.sessions.running() >= static_cast<std::size_t>(api.options.max_sessions_running))
    co_return Error{Code::exhausted, "too many sessions are running: try again later"};

  SessionRow row{.environment_id = environment.id,
                 .agent_id = agent.row.id,
                 .agent_version = agent.row.version,
                 .agent = wire::to_json(agent.snapshot),
                 .title = std::move(title),
                 .metadata = json::serialize(metadata),
                 .resources = json::serialize(resources)};
  CO_TRY(created, api.sessions.create(std::move(row), events));
  co_return http::json(200, session_json(created));
}

}  // namespace glovebox::brain

#include "brain/agent_definition.h"

#include <algorithm>
#include <boost/json.hpp>

#include "brain/agent_skills.h"
#include "brain/api_body.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxName = 256, kMaxDescription = 2048, kMaxSystem = 100'000;
constexpr std::size_t kMaxModel = 256;

Error model_required() {
  return Error{Code::invalid, "model: is required and cannot be cleared", "agent_model_required"};
}

Result<json::value> one_of(Members& members, std::string_view key, std::string text,
                           std::initializer_list<std::string_view> words) {
  if (std::ranges::find(words, text) != words.end()) return json::value(text);
  std::string all;
  for (auto word : words) all += str(all.empty() ? "" : ", ", word);
  return members.wrong(key, str("must be one of ", all));
}

// "high", or {"type": "high"}.
Result<json::value> effort_of(Members& model) {
  const json::value* given = model.take("effort");
  if (!given) return json::value(nullptr);
  std::string text;
  if (given->is_string()) {
    text = given->get_string();
  } else {
    TRY(members, Members::of(*given, "model.effort"));
    TRY(type, required_text(members, "type", 32));
    members.done();
    text = type;
  }
  TRY(type, one_of(model, "effort", text, {"low", "medium", "high", "xhigh", "max"}));
  return json::value{{"type", type}};
}

// A text names the model and keeps the rest as long as it stays the same; an object is all of it.
Result<json::object> normal_model(const json::value& given, const json::object* current) {
  if (given.is_string()) {
    std::string_view id = given.get_string();
    if (current && current->at("id").as_string() == id) return *current;
    if (trim(id).empty() || id.size() > kMaxModel || id.contains('\0'))
      return Error{Code::invalid, str("model: must have 1 to ", kMaxModel, " characters")};
    return json::object{{"id", id}};
  }
  TRY(members, Members::of(given, "model"));
  TRY(id, required_text(members, "id", kMaxModel));
  json::object model{{"id", id}};
  TRY(effort, effort_of(members));
  if (!effort.is_null()) model["effort"] = std::move(effort);
  TRY(geo, members.text("inference_geo", 64));
  if (geo) model["inference_geo"] = *geo;
  TRY(speed, members.text("speed", 32));
  if (speed) {
    TRY(known, one_of(members, "speed", *speed, {"standard", "fast"}));
    model["speed"] = std::move(known);
  }
  members.done();
  return model;
}

Result<void> refuse_unless_empty(Members& members, std::string_view key, std::string_view what) {
  const json::value* given = members.take(key);
  if (!given || (given->is_array() && given->get_array().empty())) return ok;
  return members.wrong(key, what);
}

Result<json::value> identity_of(Members& members, json::value current) {
  const json::value* given = members.take("execution_identity");
  if (!given) return current;
  TRY(identity, Members::of(*given, "execution_identity"));
  TRY(type, required_text(identity, "type", 64));
  identity.done();
  if (type != "service_account")
    return identity.wrong("type", "must be service_account: this server knows no other identity");
  return json::value{{"type", type}};
}

// Tools and servers of `members`, where given, into `definition`; null and [] clear.
Result<void> take_tools(Members& members, json::object& definition) {
  if (members.raw().contains("tools")) {
    TRY(tools, normal_tools(members.take("tools")));
    definition["tools"] = std::move(tools);
  }
  if (members.raw().contains("mcp_servers")) {
    TRY(servers, normal_mcp_servers(members.take("mcp_servers")));
    definition["mcp_servers"] = std::move(servers);
  }
  return check_mcp(definition.at("tools").as_array(), definition.at("mcp_servers").as_array());
}

// After the tools: an agent cannot read what is in a skill without any.
Result<void> take_skills(Members& members, json::object& definition) {
  if (members.raw().contains("skills")) {
    TRY(skills, normal_skills(members.take("skills")));
    definition["skills"] = std::move(skills);
  }
  if (!definition.at("skills").as_array().empty() && definition.at("tools").as_array().empty())
    return Error{Code::invalid, "skills: need tools to read them with"};
  return ok;
}

Result<void> take_model(Members& members, json::object& definition) {
  if (members.is_null("model")) return model_required();
  const json::value* given = members.take("model");
  if (!given) return ok;
  TRY(model, normal_model(*given, definition.at("model").if_object()));
  definition["model"] = std::move(model);
  return ok;
}

}  // namespace

Result<json::object> make_definition(const json::object& body) {
  if (!body.contains("model")) return model_required();
  if (!body.contains("name")) return Error{Code::invalid, "name: is required"};
  return change_definition({{"name", nullptr},
                            {"description", nullptr},
                            {"system", nullptr},
                            {"model", nullptr},
                            {"tools", json::array{}},
                            {"mcp_servers", json::array{}},
                            {"skills", json::array{}},
                            {"multiagent", nullptr},
                            {"execution_identity", {{"type", "service_account"}}},
                            {"metadata", json::object{}}},
                           body);
}

Result<json::object> change_definition(json::object definition, const json::object& body) {
  const json::value whole(body);
  TRY(members, Members::of(whole));
  if (body.contains("name")) {
    TRY(name, required_text(members, "name", kMaxName));
    definition["name"] = std::move(name);
  }
  TRY(description,
      text_or_null(members, "description", kMaxDescription, definition["description"]));
  definition["description"] = std::move(description);
  TRY(system, text_or_null(members, "system", kMaxSystem, definition["system"]));
  definition["system"] = std::move(system);
  TRY_DO(take_model(members, definition));
  TRY_DO(take_tools(members, definition));
  TRY_DO(take_skills(members, definition));
  TRY_DO(refuse_unless_empty(members, "multiagent", "this server runs one agent in a session"));
  TRY(identity, identity_of(members, definition["execution_identity"]));
  definition["execution_identity"] = std::move(identity);
  TRY(metadata, patch_metadata(members, definition["metadata"].as_object()));
  definition["metadata"] = std::move(metadata);
  (void)members.take("version");  // the caller's
  members.done();
  return definition;
}

Result<json::object> override_definition(json::object definition, const json::object& overrides) {
  const json::value whole(overrides);
  TRY(members, Members::of(whole, "agent"));
  for (auto key : {"type", "id", "version"}) (void)members.take(key);
  TRY(system, text_or_null(members, "system", kMaxSystem, definition["system"]));
  definition["system"] = std::move(system);
  TRY_DO(take_model(members, definition));
  TRY_DO(take_tools(members, definition), "agent");
  TRY_DO(take_skills(members, definition), "agent");
  members.done();
  return definition;
}

Result<void> check_runnable(const json::object& definition) {
  if (!definition.at("mcp_servers").as_array().empty())
    return Error{Code::invalid,
                 "agent: it has mcp_servers, and this server does not call MCP servers: leave them "
                 "out by agent_with_overrides"};
  return ok;
}

json::object session_agent(const AgentRow& row, json::object definition) {
  json::object agent{{"type", "agent"}, {"id", row.id}, {"version", row.version}};
  for (auto& [key, value] : definition)
    if (key != "metadata") agent[key] = std::move(value);
  return agent;
}

}  // namespace glovebox::brain

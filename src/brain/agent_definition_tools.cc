// The tools of an agent: the agent toolset, MCP toolsets, custom tools. Every entry comes out with
// its defaults filled in.
#include <algorithm>
#include <boost/json.hpp>
#include <set>

#include "brain/agent_definition.h"
#include "brain/api_body.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxTools = 256, kMaxServers = 20, kMaxConfigs = 256, kMaxDomains = 64;
constexpr std::size_t kMaxToolName = 128, kMaxToolDescription = 100'000, kMaxUrl = 2048;
constexpr std::string_view kToolset = "agent_toolset_20260401";
constexpr std::string_view kToolNames[] = {"bash", "edit", "read",      "write",
                                           "glob", "grep", "web_fetch", "web_search"};

struct Setting {  // what a tool without an entry of its own gets
  bool enabled = true;
  std::string policy;
  json::object object() const {
    return {{"enabled", enabled}, {"permission_policy", {{"type", policy}}}};
  }
};

// {enabled?, permission_policy?} over `fallback`.
Result<Setting> setting_of(Members& members, Setting fallback) {
  TRY(enabled, members.flag("enabled"));
  if (enabled) fallback.enabled = *enabled;
  TRY(policy, members.object("permission_policy"));
  if (!policy) return fallback;
  TRY(type, required_text(*policy, "type", 64));
  if (type != "always_allow" && type != "always_ask" && type != "auto")
    return policy->wrong("type", "must be always_allow, always_ask or auto");
  policy->done();
  fallback.policy = std::move(type);
  return fallback;
}

Result<void> copy_domains(Members& config, json::object& out) {
  int lists = 0;
  for (std::string_view key : {"allowed_domains", "blocked_domains"}) {
    TRY(domains, config.texts(key, kMaxDomains, 253));
    if (!domains) continue;
    if (++lists > 1) return config.wrong(key, "cannot stand beside allowed_domains");
    out[key] = json::value_from(*domains);
  }
  return ok;
}

// "all", {"type": "all"}, {"type": "only", "tools": […]}: all come out as objects.
Result<json::object> source_of(Members& sources, std::string_view key, bool may_name_tools) {
  const json::value* given = sources.take(key);
  if (!given) return json::object{{"type", "all"}};
  json::object source;
  if (given->is_string())
    source["type"] = *given;
  else if (given->is_object())
    source = given->get_object();
  else
    return sources.wrong(key, "must be an object or a string");
  const json::value* type = source.if_contains("type");
  if (!type || !type->is_string()) return sources.wrong(key, "type is required");
  std::string_view word = type->get_string();
  if (word == "all" || word == "none") return json::object{{"type", word}};
  if (!may_name_tools || (word != "only" && word != "except"))
    return sources.wrong(key, may_name_tools ? "type must be all, none, only or except"
                                             : "type must be all or none");
  const json::value* tools = source.if_contains("tools");
  if (!tools || !tools->is_array() || tools->get_array().size() > kMaxTools)
    return sources.wrong(key, "tools must be an array of tool references");
  for (const json::value& tool : tools->get_array()) {
    const json::value* name = tool.is_object() ? tool.get_object().if_contains("name") : nullptr;
    if (!name || !name->is_string())
      return sources.wrong(key, "tools must be an array of {type: tool_reference, name}");
  }
  return json::object{{"type", word}, {"tools", *tools}};
}

// What only the two web tools have. They run beside the model, never in the sandbox.
Result<void> copy_web_settings(Members& config, std::string_view tool, json::object& out) {
  if (tool != "web_fetch" && tool != "web_search") return ok;
  TRY_DO(copy_domains(config, out));
  if (tool == "web_search") {
    TRY(location, config.object("user_location"));
    if (!location) return ok;
    json::object place{{"type", "approximate"}};
    (void)location->take("type");
    for (std::string_view key : {"city", "country", "region", "timezone"}) {
      TRY(text, location->text(key, 256));
      if (text) place[key] = *text;
    }
    location->done();
    out["user_location"] = std::move(place);
    return ok;
  }
  TRY(tokens, config.integer("max_content_tokens", 1, 10'000'000));
  if (tokens) out["max_content_tokens"] = *tokens;
  TRY(sources, config.object("url_sources"));
  if (!sources) return ok;
  json::object all;
  for (std::string_view key : {"client_tool_results", "server_tool_results", "user_input"}) {
    TRY(source, source_of(*sources, key, key != "user_input"));
    all[key] = std::move(source);
  }
  sources->done();
  out["url_sources"] = std::move(all);
  return ok;
}

Result<Setting> default_config(Members& tool, json::object& out, std::string_view policy) {
  Setting setting{true, std::string(policy)};
  TRY(given, tool.object("default_config"));
  if (given) {
    TRY(own, setting_of(*given, setting));
    given->done();
    setting = std::move(own);
  }
  out["default_config"] = setting.object();
  return setting;
}

// The entries of `configs`; `known`: only names of the agent toolset.
Result<json::array> configs_of(Members& tool, const std::string& where, const Setting& fallback,
                               bool known) {
  json::array out;
  const json::value* configs = tool.take("configs");
  if (!configs) return out;
  if (!configs->is_array() || configs->get_array().size() > kMaxConfigs)
    return tool.wrong("configs", str("must be an array of at most ", kMaxConfigs, " entries"));
  std::set<std::string> seen;
  for (const json::value& entry : configs->get_array()) {
    TRY(config, Members::of(entry, str(where, ".configs[", out.size(), "]")));
    TRY(name, required_text(config, "name", kMaxToolName));
    if (known && std::ranges::find(kToolNames, name) == std::end(kToolNames))
      return config.wrong("name", str("the toolset has no tool ", name));
    if (!seen.insert(name).second) return config.wrong("name", "stands there twice");
    TRY(setting, setting_of(config, fallback));
    json::object filled{{"name", name}};
    if (known) {
      TRY(type, config.text("type", kMaxToolName));
      if (type && *type != name) return config.wrong("type", "must equal the name");
      filled["type"] = name;
    }
    for (auto& [key, value] : setting.object()) filled[key] = value;
    if (known) TRY_DO(copy_web_settings(config, name, filled));
    config.done();
    out.push_back(std::move(filled));
  }
  return out;
}

Result<json::object> normal_toolset(Members& tool, const std::string& where) {
  json::object out{{"type", kToolset}};
  TRY(fallback, default_config(tool, out, "always_allow"));
  TRY(configs, configs_of(tool, where, fallback, true));
  out["configs"] = std::move(configs);
  return out;
}

Result<json::object> normal_mcp_toolset(Members& tool, const std::string& where) {
  TRY(server, required_text(tool, "mcp_server_name", kMaxToolName));
  json::object out{{"type", "mcp_toolset"}, {"mcp_server_name", server}};
  TRY(fallback, default_config(tool, out, "always_ask"));
  TRY(configs, configs_of(tool, where, fallback, false));
  out["configs"] = std::move(configs);
  return out;
}

Result<json::object> normal_custom(Members& tool) {
  TRY(name, required_text(tool, "name", kMaxToolName));
  auto plain = [](unsigned char c) {
    return c < 0x80 && (std::isalnum(c) || c == '_' || c == '-');
  };
  if (!std::ranges::all_of(name, plain))
    return tool.wrong("name", "has letters, digits, '_' and '-' only");
  TRY(description, required_text(tool, "description", kMaxToolDescription));
  const json::value* schema = tool.take("input_schema");
  if (!schema || !schema->is_object()) return tool.wrong("input_schema", "must be an object");
  const json::value* type = schema->get_object().if_contains("type");
  if (!type || !type->is_string() || type->get_string() != "object")
    return tool.wrong("input_schema.type", "must be \"object\"");
  return json::object{
      {"type", "custom"}, {"name", name}, {"description", description}, {"input_schema", *schema}};
}

}  // namespace

Result<json::array> normal_tools(const json::value* tools) {
  json::array out;
  if (!tools) return out;
  if (!tools->is_array() || tools->get_array().size() > kMaxTools)
    return Error{Code::invalid, str("tools: must be an array of at most ", kMaxTools, " entries")};
  std::set<std::string> names;  // as the model sees them, and toolsets
  for (const json::value& entry : tools->get_array()) {
    const std::string where = str("tools[", out.size(), "]");
    TRY(tool, Members::of(entry, where));
    TRY(type, required_text(tool, "type", 64));
    Result<json::object> normal = tool.wrong("type", str("there are no tools of type ", type));
    std::string name = type;
    if (type == kToolset) {
      normal = normal_toolset(tool, where);
    } else if (type == "mcp_toolset") {
      normal = normal_mcp_toolset(tool, where);
      if (normal)
        name = str("mcp_toolset ", std::string_view(normal->at("mcp_server_name").as_string()));
    } else if (type == "custom") {
      normal = normal_custom(tool);
      if (normal) name = normal->at("name").as_string();
    }
    if (!normal) return std::move(normal.error());
    if (!names.insert(name).second)
      return tool.wrong(type == "custom" ? "name" : "type", "stands there twice");
    tool.done();
    out.push_back(std::move(*normal));
  }
  if (names.contains(std::string(kToolset)))
    for (auto name : kToolNames)
      if (names.contains(std::string(name)))
        return Error{Code::invalid,
                     str("tools: a custom tool is named as one of the toolset, ", name)};
  return out;
}

Result<json::array> normal_mcp_servers(const json::value* servers) {
  json::array out;
  if (!servers) return out;
  if (!servers->is_array() || servers->get_array().size() > kMaxServers)
    return Error{Code::invalid,
                 str("mcp_servers: must be an array of at most ", kMaxServers, " entries")};
  std::set<std::string> names;
  for (const json::value& entry : servers->get_array()) {
    TRY(server, Members::of(entry, str("mcp_servers[", out.size(), "]")));
    TRY(type, required_text(server, "type", 64));
    if (type != "url") return server.wrong("type", "must be url");
    TRY(name, required_text(server, "name", kMaxToolName));
    if (!names.insert(name).second) return server.wrong("name", "stands there twice");
    TRY(url, required_text(server, "url", kMaxUrl));
    if (!url.starts_with("https://") && !url.starts_with("http://"))
      return server.wrong("url", "must be an http or https URL");
    server.done();
    out.push_back(json::object{{"type", "url"}, {"name", name}, {"url", url}});
  }
  return out;
}

Result<void> check_mcp(const json::array& tools, const json::array& servers) {
  std::set<std::string> declared, used;
  for (const json::value& server : servers)
    declared.insert(std::string(server.at("name").as_string()));
  for (const json::value& tool : tools)
    if (tool.at("type").as_string() == "mcp_toolset")
      used.insert(std::string(tool.at("mcp_server_name").as_string()));
  for (const auto& name : used)
    if (!declared.contains(name))
      return Error{Code::invalid, str("tools: no mcp_servers entry is named ", name)};
  for (const auto& name : declared)
    if (!used.contains(name))
      return Error{Code::invalid, str("mcp_servers: no mcp_toolset uses ", name)};
  return ok;
}

}  // namespace glovebox::brain

#include "brain/agent_tools.h"

#include <boost/json.hpp>
#include <optional>

#include "brain/json_read.h"
#include "wire/decode.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

struct BuiltIn {
  std::string_view name;
  std::string_view description;
  std::string_view schema;
};

// What the worker implements (§8 of the API); web_fetch and web_search would run on our side and
// are not offered.
constexpr BuiltIn kToolset[] = {
    {"bash",
     "Run a command in a persistent bash shell inside the session's sandbox and get what it "
     "printed "
     "(stdout and stderr together). The working directory, variables, functions and background "
     "jobs survive from call to call. Standard input is empty: use flags that make programs "
     "non-interactive. A failing command gives its output as an error. A command is killed, shell "
     "and all, after timeout_ms (120000 if not given): start long-running programs in the "
     "background with their output in a file. Set restart to true to get a fresh shell when it "
     "hangs or is broken. Very long output keeps only its end.",
     R"({"type":"object","properties":{"command":{"type":"string","description":"The command to run. May be several lines."},"restart":{"type":"boolean","description":"Kill the shell and start a fresh one before the command, if any."},"timeout_ms":{"type":"integer","minimum":1,"description":"Kill the command after this many milliseconds."}}})"},
    {"read",
     "Read a text file and get its content as it is, without line numbers. Relative paths start at "
     "the working directory. Files over 256 KiB need view_range, the first and last line wanted "
     "(counted from 1, both included; a last line of -1 means to the end).",
     R"({"type":"object","properties":{"file_path":{"type":"string","description":"The file to read."},"view_range":{"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":2,"description":"[first, last] line, counted from 1, both included."}},"required":["file_path"]})"},
    {"write",
     "Write a text file, making missing parent folders. A file that exists is replaced as a whole; "
     "to change a part of it use edit.",
     R"({"type":"object","properties":{"file_path":{"type":"string","description":"The file to write."},"content":{"type":"string","description":"All of its new content."}},"required":["file_path","content"]})"},
    {"edit",
     "Replace a piece of text in a file. old_string must be exactly what stands in the file, white "
     "space included, and occur once: give enough of the lines around it, or set replace_all to "
     "change every occurrence. Read the file first.",
     R"({"type":"object","properties":{"file_path":{"type":"string","description":"The file to change."},"old_string":{"type":"string","description":"The text to replace, exactly as it stands in the file."},"new_string":{"type":"string","description":"The text to put in its place, taken literally."},"replace_all":{"type":"boolean","description":"Replace every occurrence."}},"required":["file_path","old_string","new_string"]})"},
    {"glob",
     "Find files by a pattern such as **/*.py or src/*.{c,h}: one path per line, the last modified "
     "first, at most 200. .git and node_modules are left out; names that start with a dot are "
     "found only when the pattern names the dot.",
     R"({"type":"object","properties":{"pattern":{"type":"string","description":"A relative pattern: *, **, ?, [...] and {a,b}."},"path":{"type":"string","description":"The folder to look in; the working directory if not given."}},"required":["pattern"]})"},
    {"grep",
     "Search the contents of files for a regular expression and get path:line:text for each hit. "
     "Narrow it by path where the output would be long.",
     R"({"type":"object","properties":{"pattern":{"type":"string","description":"The regular expression."},"path":{"type":"string","description":"A file or folder to search; the working directory if not given."}},"required":["pattern"]})"},
};

struct Setting {
  std::optional<bool> enabled;
  std::optional<Policy> policy;
};

// A value we do not know is one somebody meant to be careful with.
Policy policy_of(const std::string& type) {
  if (type == "always_allow") return Policy::always_allow;
  if (type == "always_deny") return Policy::always_deny;
  if (type == "auto") return Policy::automatic;
  return Policy::always_ask;
}

Setting setting_of(const json::object& from) {
  Setting setting;
  const json::value* enabled = from.if_contains("enabled");
  if (enabled && enabled->is_bool()) setting.enabled = enabled->get_bool();
  if (const json::object* policy = object_of(from, "permission_policy"))
    setting.policy = policy_of(text_of(*policy, "type"));
  return setting;
}

void offer_toolset(const json::object& toolset, json::array& offered, Agent& agent) {
  Setting all;
  if (const json::object* config = object_of(toolset, "default_config")) all = setting_of(*config);
  std::map<std::string, Setting, std::less<>> own;
  const json::value* configs = toolset.if_contains("configs");
  if (configs && configs->is_array())
    for (const json::value& config : configs->get_array())
      if (const json::object* object = config.if_object())
        own[text_of(*object, "name")] = setting_of(*object);
  for (const BuiltIn& tool : kToolset) {
    Setting setting = own.contains(tool.name) ? own.find(tool.name)->second : Setting{};
    if (!setting.enabled.value_or(all.enabled.value_or(true))) continue;
    Policy policy = setting.policy.value_or(all.policy.value_or(Policy::always_allow));
    if (!agent.tools.try_emplace(std::string(tool.name), Tool{false, policy}).second) continue;
    offered.push_back({{"name", tool.name},
                       {"description", tool.description},
                       {"input_schema", json::parse(tool.schema)}});
  }
}

void offer_custom(const json::object& tool, json::array& offered, Agent& agent) {
  std::string name = text_of(tool, "name");
  const json::object* schema = object_of(tool, "input_schema");
  if (name.empty() || !agent.tools.try_emplace(name, Tool{.custom = true}).second) return;
  offered.push_back({{"name", name},
                     {"description", text_of(tool, "description")},
                     {"input_schema", schema ? *schema : json::object{{"type", "object"}}}});
}

}  // namespace

Result<Agent> Agent::parse(const std::string& snapshot) {
  TRY(value, wire::parse_json(snapshot), "agent of the session");
  if (!value.is_object()) return Error{Code::internal, "agent of the session: not an object"};
  const json::object& object = value.get_object();
  Agent agent;
  agent.name = text_of(object, "name");
  agent.system = text_of(object, "system");
  agent.model = text_of(object, "model");
  if (const json::object* model = object_of(object, "model")) {
    agent.model = text_of(*model, "id");
    agent.speed = text_of(*model, "speed");
    agent.effort = text_of(*model, "effort");
    if (const json::object* effort = object_of(*model, "effort"))
      agent.effort = text_of(*effort, "type");
  }
  json::array offered;
  const json::value* tools = object.if_contains("tools");
  if (tools && tools->is_array())
    for (const json::value& tool : tools->get_array()) {
      const json::object* entry = tool.if_object();
      if (!entry) continue;
      std::string type = text_of(*entry, "type");
      if (type == "agent_toolset_20260401") offer_toolset(*entry, offered, agent);
      if (type == "custom") offer_custom(*entry, offered, agent);
    }
  agent.offered = json::serialize(offered);
  return agent;
}

}  // namespace glovebox::brain

#include "brain/agent_definition.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace glovebox::brain {

namespace json = boost::json;

namespace {

json::object parse(std::string_view text) { return json::parse(text).as_object(); }

// `members` beside a name and a model.
Result<json::object> make(std::string_view members) {
  return make_definition(
      parse(str(R"({"name":"n","model":"m")", members.empty() ? "" : ",", members, '}')));
}
json::value must_make(std::string_view members, std::string_view pointer) {
  auto made = make(members);
  EXPECT_TRUE(made) << members << ": " << made.error().what;
  return made ? json::value(*made).at_pointer(pointer) : json::value();
}
std::string error_of(const Result<json::object>& result) {
  return result ? "" : result.error().what;
}

}  // namespace

TEST(AgentDefinition, HasEveryMember) {
  auto made = make("");
  ASSERT_TRUE(made);
  EXPECT_EQ(
      *made,
      parse(
          R"({"name":"n","description":null,"system":null,"model":{"id":"m"},"tools":[],"mcp_servers":[],
      "skills":[],"multiagent":null,"execution_identity":{"type":"service_account"},"metadata":{}})"));
}

TEST(AgentDefinition, ToolsetIsFilledIn) {
  EXPECT_EQ(must_make(R"("tools":[{"type":"agent_toolset_20260401"}])", "/tools/0"),
            json::parse(R"({"type":"agent_toolset_20260401","configs":[],
                "default_config":{"enabled":true,"permission_policy":{"type":"always_allow"}}})"));
  EXPECT_EQ(
      must_make(R"("tools":[{"type":"agent_toolset_20260401","default_config":{"enabled":false},
                "configs":[{"name":"bash","enabled":true},{"name":"read","permission_policy":{"type":"always_ask"}}]}])",
                "/tools/0"),
      json::parse(R"({"type":"agent_toolset_20260401",
                "default_config":{"enabled":false,"permission_policy":{"type":"always_allow"}},
                "configs":[{"name":"bash","enabled":true,"permission_policy":{"type":"always_allow"},"type":"bash"},
                           {"name":"read","enabled":false,"permission_policy":{"type":"always_ask"},"type":"read"}]})"));
}

TEST(AgentDefinition, McpToolsetAsksByDefault) {
  const auto tool = must_make(R"("mcp_servers":[{"type":"url","name":"s","url":"https://x"}],
      "tools":[{"type":"mcp_toolset","mcp_server_name":"s","configs":[{"name":"find"}]}])",
                              "/tools/0");
  EXPECT_EQ(tool.at_pointer("/default_config/permission_policy/type"), json::value("always_ask"));
  EXPECT_EQ(
      tool.at_pointer("/configs/0"),
      json::parse(R"({"name":"find","enabled":true,"permission_policy":{"type":"always_ask"}})"));
}

TEST(AgentDefinition, WebToolsKeepTheirSettings) {
  const auto config = must_make(
      R"("tools":[{"type":"agent_toolset_20260401","configs":[{"name":"web_fetch","max_content_tokens":5,
      "allowed_domains":["a.example"],"url_sources":{"user_input":"none","client_tool_results":{"type":"only","tools":[{"type":"tool_reference","name":"x"}]}}}]}])",
      "/tools/0/configs/0");
  EXPECT_EQ(config.at("allowed_domains"), json::parse(R"(["a.example"])"));
  EXPECT_EQ(
      config.at("url_sources"),
      json::parse(
          R"({"client_tool_results":{"type":"only","tools":[{"type":"tool_reference","name":"x"}]},
      "server_tool_results":{"type":"all"},"user_input":{"type":"none"}})"));
}

TEST(AgentDefinition, ModelIsATextOrAnObject) {
  EXPECT_EQ(must_make(R"("x":1)", "/model"), json::parse(R"({"id":"m"})"));
  auto made =
      make_definition(parse(R"({"name":"n","model":{"id":"m","effort":"low","speed":"fast"}})"));
  ASSERT_TRUE(made);
  EXPECT_EQ(made->at("model"), json::parse(R"({"id":"m","effort":{"type":"low"},"speed":"fast"})"));
  // A text that names the same model keeps the rest; an object is all of it.
  EXPECT_EQ(change_definition(*made, parse(R"({"model":"m"})"))->at("model"), made->at("model"));
  EXPECT_EQ(change_definition(*made, parse(R"({"model":"other"})"))->at("model"),
            json::parse(R"({"id":"other"})"));
  EXPECT_EQ(change_definition(*made, parse(R"({"model":{"id":"m","effort":{"type":"max"}}})"))
                ->at("model"),
            json::parse(R"({"id":"m","effort":{"type":"max"}})"));
}

TEST(AgentDefinition, ChangeKeepsWhatIsAbsent) {
  auto made = *make(
      R"("system":"s","description":"d","metadata":{"a":"1","b":"2"},"tools":[{"type":"agent_toolset_20260401"}])");
  EXPECT_EQ(*change_definition(made, {}), made);
  auto changed = *change_definition(
      made, parse(R"({"system":null,"description":"","metadata":{"a":null,"c":"3"},"tools":[]})"));
  EXPECT_TRUE(changed["system"].is_null());
  EXPECT_TRUE(changed["description"].is_null());
  EXPECT_EQ(changed["metadata"], json::parse(R"({"b":"2","c":"3"})"));
  EXPECT_EQ(changed["tools"], json::array{});
  EXPECT_EQ(changed["name"], "n");
}

TEST(AgentDefinition, OverridesReplaceWhole) {
  auto made = *make(R"("system":"s","tools":[{"type":"agent_toolset_20260401"}])");
  auto changed = *override_definition(
      made, parse(R"({"type":"agent_with_overrides","id":"x","tools":null,"model":"other"})"));
  EXPECT_EQ(changed["tools"], json::array{});
  EXPECT_EQ(changed["model"], json::parse(R"({"id":"other"})"));
  EXPECT_EQ(changed["system"], "s");
  auto cleared = override_definition(made, parse(R"({"model":null})"));
  ASSERT_FALSE(cleared);
  EXPECT_EQ(cleared.error().tag, "agent_model_required");
}

TEST(AgentDefinition, SnapshotHasNoMetadata) {
  auto agent = session_agent({.id = "agent_1", .version = 2}, *make(R"("metadata":{"a":"b"})"));
  EXPECT_EQ(agent["id"], "agent_1");
  EXPECT_EQ(agent["version"], 2);
  EXPECT_FALSE(agent.contains("metadata"));
  EXPECT_TRUE(agent.contains("skills"));
}

TEST(AgentDefinition, McpServersCannotBeRunHere) {
  auto made = *make(
      R"("mcp_servers":[{"type":"url","name":"s","url":"https://x"}],"tools":[{"type":"mcp_toolset","mcp_server_name":"s"}])");
  EXPECT_FALSE(check_runnable(made));
  EXPECT_TRUE(
      check_runnable(*override_definition(made, parse(R"({"tools":[],"mcp_servers":[]})"))));
}

TEST(AgentDefinition, LimitsCountCharacters) {
  std::string umlauts;
  for (int i = 0; i < 256; ++i) umlauts += "ä";
  EXPECT_TRUE(make_definition({{"name", umlauts}, {"model", "m"}}));
  EXPECT_FALSE(make_definition({{"name", umlauts + "x"}, {"model", "m"}}));
}

TEST(AgentDefinition, WhatIsWrongIsNamed) {
  const std::pair<std::string_view, std::string_view> kTable[] = {
      {R"("name":"")", "name: must not be empty"},
      {R"("name":5)", "name: must be a string"},
      {R"("name":null)", "name: is required"},
      {R"("model":null)", "model: is required and cannot be cleared"},
      {R"("model":{"id":""})", "model.id: must not be empty"},
      {R"("model":{"id":"m","effort":"heroic"})",
       "model.effort: must be one of low, medium, high, xhigh, max"},
      {R"("model":{"id":"m","speed":"warp"})", "model.speed: must be one of standard, fast"},
      {R"("model":7)", "model: must be a JSON object"},
      {R"("tools":{})", "tools: must be an array of at most 256 entries"},
      {R"("tools":["bash"])", "tools[0]: must be a JSON object"},
      {R"("tools":[{}])", "tools[0].type: is required"},
      {R"("tools":[{"type":"moon"}])", "tools[0].type: there are no tools of type moon"},
      {R"("tools":[{"type":"agent_toolset_20260401"},{"type":"agent_toolset_20260401"}])",
       "tools[1].type: stands there twice"},
      {R"("tools":[{"type":"agent_toolset_20260401","configs":[{"name":"fly"}]}])",
       "tools[0].configs[0].name: the toolset has no tool fly"},
      {R"("tools":[{"type":"agent_toolset_20260401","configs":[{"name":"bash"},{"name":"bash"}]}])",
       "tools[0].configs[1].name: stands there twice"},
      {R"("tools":[{"type":"agent_toolset_20260401","configs":[{"name":"bash","type":"read"}]}])",
       "tools[0].configs[0].type: must equal the name"},
      {R"("tools":[{"type":"agent_toolset_20260401","default_config":{"permission_policy":{"type":"never"}}}])",
       "tools[0].default_config.permission_policy.type: must be always_allow, always_ask or auto"},
      {R"("tools":[{"type":"agent_toolset_20260401","configs":[{"name":"web_search","allowed_domains":["a"],"blocked_domains":["b"]}]}])",
       "tools[0].configs[0].blocked_domains: cannot stand beside allowed_domains"},
      {R"("tools":[{"type":"custom","name":"a b","description":"d","input_schema":{"type":"object"}}])",
       "tools[0].name: has letters, digits, '_' and '-' only"},
      {R"("tools":[{"type":"custom","name":"a","input_schema":{"type":"object"}}])",
       "tools[0].description: is required"},
      {R"("tools":[{"type":"custom","name":"a","description":"d","input_schema":{"type":"array"}}])",
       "tools[0].input_schema.type: must be \"object\""},
      {R"("tools":[{"type":"custom","name":"a","description":"d","input_schema":{"type":"object"}},{"type":"custom","name":"a","description":"d","input_schema":{"type":"object"}}])",
       "tools[1].name: stands there twice"},
      {R"("tools":[{"type":"agent_toolset_20260401"},{"type":"custom","name":"bash","description":"d","input_schema":{"type":"object"}}])",
       "tools: a custom tool is named as one of the toolset, bash"},
      {R"("tools":[{"type":"mcp_toolset","mcp_server_name":"s"}])",
       "tools: no mcp_servers entry is named s"},
      {R"("mcp_servers":[{"type":"url","name":"s","url":"https://x"}])",
       "mcp_servers: no mcp_toolset uses s"},
      {R"("mcp_servers":[{"type":"url","name":"s","url":"ftp://x"}])",
       "mcp_servers[0].url: must be an http or https URL"},
      {R"("skills":[{"type":"custom","skill_id":"x"}])", "skills: need tools to read them with"},
      {R"("skills":[{"type":"anthropic","skill_id":"pdf"}])",
       "skills[0].type: this server has no prebuilt skills: upload it as a custom one"},
      {R"("skills":[{"type":"custom"}])", "skills[0].skill_id: is required"},
      {R"("multiagent":{"type":"coordinator"})",
       "multiagent: this server runs one agent in a session"},
      {R"("execution_identity":{"type":"aws_role","role_arn":"x"})",
       "execution_identity.type: must be service_account: this server knows no other identity"},
      {R"("metadata":[])", "metadata: must be an object of strings"},
      {R"("metadata":{"a":1})", "metadata.a: must be a string"},
  };
  for (const auto& [members, what] : kTable) {
    // The last of two members of one name counts.
    EXPECT_EQ(error_of(make(members)), what) << members;
  }
}

TEST(AgentDefinition, MetadataHasLimits) {
  auto with = [](json::object metadata) {
    return make_definition({{"name", "n"}, {"model", "m"}, {"metadata", std::move(metadata)}});
  };
  json::object sixteen;
  for (int i = 0; i < 16; ++i) sixteen[str("k", i)] = "v";
  EXPECT_TRUE(with(sixteen));
  EXPECT_TRUE(with({{std::string(64, 'k'), std::string(512, 'v')}}));
  for (auto wrong :
       {json::object{{std::string(65, 'k'), "v"}}, json::object{{"k", std::string(513, 'v')}}}) {
    auto made = with(wrong);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().tag, "invalid_metadata");
  }
  sixteen["one more"] = "v";
  EXPECT_FALSE(with(sixteen));
}

}  // namespace glovebox::brain

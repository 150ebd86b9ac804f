#include "app/config.h"

#include <gtest/gtest.h>

#include "app/parts.h"

namespace glovebox::app {
namespace {

Result<Config> of_toml(const std::string& text) {
  Config config;
  TRY_DO(apply_toml(config, text, "glovebox.toml"));
  return config;
}

TEST(Config, FileSetsWhatItNamesAndNothingElse) {
  auto config = of_toml("log = \"warn\"\n[engine]\nblanks = 3\nallowed_hosts = [\"a\", \"b\"]\n");
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_EQ(config->log, "warn");
  EXPECT_EQ(config->engine.blanks, 3);
  EXPECT_EQ(config->engine.allowed_hosts, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(config->engine.listen, "127.0.0.1:8410");
}

TEST(Config, UnknownKeysAreRefusedByNameAndPlace) {
  struct {
    const char *text, *wanted;
  } const kCases[] = {
      {"\n[engine]\nlisen = \"x\"\n",
       "glovebox.toml:3: there is no setting 'engine.lisen'; did you mean 'engine.listen'?"},
      {"stat = \"/x\"\n", "glovebox.toml:1: there is no setting 'stat'; did you mean 'state'?"},
      {"[engin]\n", "glovebox.toml:1: there is no setting 'engin'"},
  };
  for (const auto& wrong : kCases) {
    auto config = of_toml(wrong.text);
    ASSERT_FALSE(config) << wrong.text;
    EXPECT_TRUE(config.error().what.starts_with(wrong.wanted)) << config.error().what;
  }
}

TEST(Config, WrongTypesRangesAndSyntaxSayWhere) {
  for (auto [text, wanted] :
       {std::pair{"[engine]\nblanks = \"3\"\n", "engine.blanks must be a whole number"},
        {"[engine]\nlisten = 8410\n", "engine.listen must be a text in quotes"},
        {"[engine]\nblanks = -1\n", "engine.blanks: -1 is not between"},
        {"[engine]\nallowed_hosts = [1]\n", "engine.allowed_hosts must be a list of texts"},
        {"log = \"loud\"\n", "log: 'loud' is not"},
        {"[brain]\nlisten = \"nowhere\"\n", "brain.listen: "},
        {"[brain]\nmodel_url = \"ftp://x\"\n", "brain.model_url: 'ftp://x' is not a URL"},
        {"[brain]\nlease_ttl_secs = 5\n", "brain.lease_ttl_secs: 5 is not between 10 and 600"},
        {"[brain]\ndefault_model = \"\"\n", "brain.default_model: must name a model"},
        {"[orchestrator]\nbrain_url = \"x\"\n", "orchestrator.brain_url: 'x' is not a URL"},
        {"[orchestrator]\nrunner = \"beside\"\n", "'beside' is neither outside nor inside"},
        {"[orchestrator]\nsession_directories = [\"seeds\"]\n", "'seeds' is not NAME=/path"},
        {"[orchestrator]\nsession_directories = [\"a=b=/c\"]\n", "'a=b=/c' is not NAME=/path"},
        {"[orchestrator]\npool_min = 3\n", "is more than orchestrator.pool_max, which is 0"},
        {"state = \"relative\"\n", "state: 'relative' must be an absolute path"},
        {"log = \n", "glovebox.toml:1"}}) {
    auto config = of_toml(text);
    ASSERT_FALSE(config) << text;
    EXPECT_NE(config.error().what.find(wanted), std::string::npos) << config.error().what;
    EXPECT_NE(config.error().what.find("glovebox.toml"), std::string::npos) << config.error().what;
  }
}

TEST(Config, EnvironmentOverridesAndIsChecked) {
  Config config;
  ASSERT_TRUE(apply_environment(config, {{"GLOVEBOX_ENGINE_LISTEN", "127.0.0.1:0"},
                                         {"GLOVEBOX_ENGINE_ALLOWED_HOSTS", "a, b"}}));
  EXPECT_EQ(config.engine.listen, "127.0.0.1:0");
  EXPECT_EQ(config.engine.allowed_hosts, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(unknown_variables({{"GLOVEBOX_ENGINE_LISTN", "x"},
                               {"GLOVEBOX_NOBODYS", "x"},
                               {"GLOVEBOX_ENGINE_LISTEN", "x"},
                               {"GLOVEBOX_CONFIG", "x"},
                               {"GLOVEBOX_TEST_CANARY", "x"},
                               {"HOME", "/"}}),
            (std::vector<std::string>{
                "GLOVEBOX_ENGINE_LISTN means nothing here; did you mean GLOVEBOX_ENGINE_LISTEN?",
                "GLOVEBOX_NOBODYS means nothing here"}));
  // What nobody has set: nothing in it, or said by Kubernetes of a Service called like us.
  EXPECT_EQ(unknown_variables({{"GLOVEBOX_NOBODYS", ""},
                               {"GLOVEBOX_SERVICE_HOST", "10.0.0.1"},
                               {"GLOVEBOX_SERVICE_PORT", "8410"},
                               {"GLOVEBOX_SERVICE_PORT_HTTP", "8410"},
                               {"GLOVEBOX_PORT", "tcp://10.0.0.1:8410"},
                               {"GLOVEBOX_PORT_8410_TCP", "tcp://10.0.0.1:8410"},
                               {"GLOVEBOX_PORT_8410_TCP_PROTO", "tcp"},
                               {"GLOVEBOX_PORT_8410_TCP_PORT", "8410"},
                               {"GLOVEBOX_PORT_8410_TCP_ADDR", "10.0.0.1"},
                               {"GLOVEBOX_BRAIN_SERVICE_HOST", "10.0.0.1"},
                               {"GLOVEBOX_NOBODYS_PORT", "8411"}}),
            (std::vector<std::string>{"GLOVEBOX_NOBODYS_PORT means nothing here"}));
  auto wrong = apply_environment(config, {{"GLOVEBOX_ENGINE_BLANKS", "many"}});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().what, "GLOVEBOX_ENGINE_BLANKS: engine.blanks must be a whole number");
}

TEST(Config, NamesOfTheReferenceIntegrationCountAndOursBeatThem) {
  Config config;
  ASSERT_TRUE(apply_environment(config, {{"RESUME_SUSPENDED_SESSIONS", "yes"},
                                         {"SANDBOX_TIMEOUT_SECONDS", "60"},
                                         {"POLL_BLOCK_MS", "10"},
                                         {"GLOVEBOX_ORCHESTRATOR_POLL_BLOCK_MS", "20"},
                                         {"ANTHROPIC_WORKER_ID", "me"}}));
  EXPECT_TRUE(config.orchestrator.resume_suspended_sessions);
  EXPECT_EQ(config.orchestrator.sandbox_timeout_seconds, 60);
  EXPECT_EQ(config.orchestrator.poll_block_ms, 20);
  EXPECT_EQ(config.orchestrator.worker_id, "me");
  auto wrong = apply_environment(config, {{"POLL_BLOCK_MS", "1000"}});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().what,
            "POLL_BLOCK_MS: orchestrator.poll_block_ms: 1000 is not between 1 and 999");
}

TEST(Config, FlagsAreTrueOrFalse) {
  EXPECT_TRUE(of_toml("[orchestrator]\nresume_suspended_sessions = true\n")
                  ->orchestrator.resume_suspended_sessions);
  EXPECT_FALSE(of_toml("[orchestrator]\nresume_suspended_sessions = \"true\"\n"));
  for (auto [text, value] : {std::pair{"1", true}, {"TRUE", true}, {"no", false}, {"0", false}}) {
    Config config;
    config.orchestrator.resume_suspended_sessions = !value;
    ASSERT_TRUE(apply_environment(config, {{"RESUME_SUSPENDED_SESSIONS", text}})) << text;
    EXPECT_EQ(config.orchestrator.resume_suspended_sessions, value) << text;
  }
  Config config;
  EXPECT_FALSE(apply_environment(config, {{"RESUME_SUSPENDED_SESSIONS", "maybe"}}));
}

TEST(Config, WhatIsHandedOnComesBackTheSame) {
  Config config;
  config.state = "/srv/gb";
  config.engine.blanks = 5;
  config.engine.allowed_hosts = {"x", "y"};
  config.brain.model_url = "http://127.0.0.1:1";
  config.orchestrator.resume_suspended_sessions = true;
  cli::Environment env;
  for (const std::string& pair : exported(config, ""))
    env[pair.substr(0, pair.find('='))] = pair.substr(pair.find('=') + 1);
  auto again = config_of_environment(env);
  ASSERT_TRUE(again);
  EXPECT_EQ(exported(*again, ""), exported(config, ""));
}

TEST(Parts, EnvironmentIsAListAndNothingIsInherited) {
  cli::Environment ours{
      {"HOME", "/root"},          {"AWS_SECRET_ACCESS_KEY", "x"},     {"TENSORLAKE_API_KEY", "y"},
      {"ANTHROPIC_API_KEY", "z"}, {"ANTHROPIC_ENVIRONMENT_KEY", "z"}, {"LD_PRELOAD", "z"}};
  for (const PartSpec& part : all_parts())
    for (const std::string& entry : part_environment(Config(), part, ours)) {
      std::string name = entry.substr(0, entry.find('='));
      EXPECT_TRUE(name == "PATH" || name == "LANG" || name.starts_with("GLOVEBOX_")) << name;
      if (name != "GLOVEBOX_INGRESS_CERTIFICATE_KEY")  // where a file is
        EXPECT_EQ(name.find("KEY"), name.npos) << name;
    }
}

TEST(Parts, EachIsToldItsOwnSettingsOnly) {
  for (const std::string& entry : part_environment(Config(), part_named("brain"), {}))
    EXPECT_EQ(entry.find("GLOVEBOX_ENGINE_"), entry.npos) << entry;
}

TEST(Parts, OnlyTheEngineIsRoots) {
  for (const PartSpec& part : all_parts())
    EXPECT_EQ(part.user == PartSpec::User::root, part.name == "engine") << part.name;
}

TEST(Parts, AnUnknownPartIsWrongUsage) {
  auto picked = pick_parts({"engnie"});
  ASSERT_FALSE(picked);
  EXPECT_TRUE(cli::is_usage_error(picked.error()));
  EXPECT_NE(picked.error().what.find("did you mean 'engine'?"), std::string::npos);
  EXPECT_EQ(pick_parts({})->size(), all_parts().size());
}

TEST(Parts, StartInTheOrderInWhichTheyNeedEachOther) {
  auto picked = pick_parts({"orchestrator", "engine", "uplink", "brain"});
  ASSERT_TRUE(picked);
  std::vector<std::string> names;
  for (const PartSpec* part : *picked) names.push_back(part->name);
  EXPECT_EQ(names, (std::vector<std::string>{"engine", "brain", "uplink", "orchestrator"}));
}

}  // namespace
}  // namespace glovebox::app

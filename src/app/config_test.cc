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
  auto wrong = apply_environment(config, {{"GLOVEBOX_ENGINE_BLANKS", "many"}});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().what, "GLOVEBOX_ENGINE_BLANKS: engine.blanks must be a whole number");
}

TEST(Config, WhatIsHandedOnComesBackTheSame) {
  Config config;
  config.state = "/srv/gb";
  config.engine.blanks = 5;
  config.engine.allowed_hosts = {"x", "y"};
  cli::Environment env;
  for (const std::string& pair : exported(config, "engine"))
    env[pair.substr(0, pair.find('='))] = pair.substr(pair.find('=') + 1);
  auto again = config_of_environment(env);
  ASSERT_TRUE(again);
  EXPECT_EQ(exported(*again, ""), exported(config, ""));
}

TEST(Parts, EnvironmentIsAListAndNothingIsInherited) {
  cli::Environment ours{{"HOME", "/root"},
                        {"AWS_SECRET_ACCESS_KEY", "x"},
                        {"TENSORLAKE_API_KEY", "y"},
                        {"LD_PRELOAD", "z"}};
  for (const std::string& entry : part_environment(Config(), all_parts().front(), ours)) {
    std::string name = entry.substr(0, entry.find('='));
    EXPECT_TRUE(name == "PATH" || name == "LANG" || name.starts_with("GLOVEBOX_")) << name;
  }
}

TEST(Parts, AnUnknownPartIsWrongUsage) {
  auto picked = pick_parts({"engnie"});
  ASSERT_FALSE(picked);
  EXPECT_TRUE(cli::is_usage_error(picked.error()));
  EXPECT_NE(picked.error().what.find("did you mean 'engine'?"), std::string::npos);
  EXPECT_EQ(pick_parts({})->size(), all_parts().size());
}

}  // namespace
}  // namespace glovebox::app

#include "app/well_known.h"

#include <gtest/gtest.h>

#include "app/orchestrator_run.h"

namespace glovebox::app {
namespace {

struct Taken {
  Config config;
  WellKnown given;
  std::string refused;
};

Taken taken(const cli::Environment& env, Config config = {}) {
  config.state = "/nonexistent";
  Taken out{config, {}, ""};
  auto given = take_well_known(out.config, env);
  if (given) {
    out.given = std::move(*given);
  } else {
    out.refused = given.error().what;
  }
  return out;
}

TEST(WellKnown, WithoutAnyNothingChanges) {
  Taken none = taken({});
  EXPECT_FALSE(none.given.hosted);
  EXPECT_TRUE(none.given.keys.empty());
  EXPECT_EQ(exported(none.config, "brain"), exported(taken({}).config, "brain"));
}

TEST(WellKnown, AnApiKeyIsTheModelsAndTheBaseUrlItsAddress) {
  Taken model =
      taken({{"ANTHROPIC_API_KEY", "sk-ant-x"}, {"ANTHROPIC_BASE_URL", "https://m.example"}});
  EXPECT_TRUE(model.given.keys["model"].equals("sk-ant-x"));
  EXPECT_EQ(model.config.brain.model_url, "https://m.example");
}

TEST(WellKnown, WhatGloveboxEnvSetIsNotForAModel) {
  Taken ours =
      taken({{"ANTHROPIC_API_KEY", "gb-api-x"}, {"ANTHROPIC_BASE_URL", "http://127.0.0.1:8400"}});
  EXPECT_TRUE(ours.given.keys.empty());
  EXPECT_EQ(ours.config.brain.model_url, Config().brain.model_url);
  // Of another instance: the key gives it away.
  Taken other =
      taken({{"ANTHROPIC_API_KEY", "gb-api-x"}, {"ANTHROPIC_BASE_URL", "http://127.0.0.1:9"}});
  EXPECT_EQ(other.config.brain.model_url, Config().brain.model_url);
  // A model's key beside our own URL.
  Taken mixed =
      taken({{"ANTHROPIC_API_KEY", "sk-ant-x"}, {"ANTHROPIC_BASE_URL", "http://localhost:8400"}});
  EXPECT_TRUE(mixed.given.keys["model"].equals("sk-ant-x"));
  EXPECT_EQ(mixed.config.brain.model_url, Config().brain.model_url);
}

TEST(WellKnown, ASettingOfOursWins) {
  Config config;
  config.brain.model_url = "https://mine.example";
  EXPECT_EQ(taken({{"ANTHROPIC_BASE_URL", "https://m.example"}}, config).config.brain.model_url,
            "https://mine.example");
}

TEST(WellKnown, AModelThatIsOurOwnBrainIsRefused) {
  Config config;
  for (auto url : {"http://127.0.0.1:8400", "http://localhost:8400/", "http://[::1]:8400/v1"}) {
    config.brain.model_url = url;
    EXPECT_NE(taken({}, config).refused.find("own brain"), std::string::npos) << url;
  }
  config.brain.model_url = "http://127.0.0.1:8401";
  EXPECT_EQ(taken({}, config).refused, "");
}

TEST(WellKnown, AnEnvironmentKeyMeansAQueueElsewhere) {
  Taken hosted = taken({{"ANTHROPIC_ENVIRONMENT_KEY", "sk-ant-oat01-x"},
                        {"ANTHROPIC_ENVIRONMENT_ID", "env_1"},
                        {"ANTHROPIC_API_KEY", "sk-ant-x"}});
  EXPECT_TRUE(hosted.given.hosted);
  EXPECT_TRUE(hosted.given.keys["environment"].equals("sk-ant-oat01-x"));
  EXPECT_FALSE(hosted.given.keys.contains("model"));  // no business of an orchestrator
  EXPECT_EQ(hosted.config.orchestrator.brain_url, "https://api.anthropic.com");
  EXPECT_EQ(hosted.config.orchestrator.environment_id, "env_1");
  EXPECT_EQ(
      taken({{"ANTHROPIC_ENVIRONMENT_KEY", "gb-env-x"}, {"ANTHROPIC_BASE_URL", "http://b:8400"}})
          .config.orchestrator.brain_url,
      "http://b:8400");
}

TEST(WellKnown, AHostedQueueNeedsItsEnvironmentAndAKeyOfItsOwn) {
  EXPECT_NE(taken({{"ANTHROPIC_ENVIRONMENT_KEY", "sk-ant-oat01-x"}})
                .refused.find("ANTHROPIC_ENVIRONMENT_ID"),
            std::string::npos);
  EXPECT_NE(taken({{"ANTHROPIC_ENVIRONMENT_KEY", "gb-env-x"}, {"ANTHROPIC_ENVIRONMENT_ID", "e"}})
                .refused.find("ANTHROPIC_BASE_URL"),
            std::string::npos);
}

TEST(WellKnown, CustomHeadersAreForAQueueElsewhereAndOneWord) {
  cli::Environment env{{"ANTHROPIC_ENVIRONMENT_KEY", "sk-ant-oat01-x"},
                       {"ANTHROPIC_ENVIRONMENT_ID", "env_1"},
                       {"ANTHROPIC_CUSTOM_HEADERS", "X-Team: a b\nX-Other: 1+1=2"}};
  Taken hosted = taken(env);
  ASSERT_EQ(hosted.refused, "");
  std::string word(hosted.given.keys["headers"].reveal());
  EXPECT_EQ(word.find_first_of(" \n\r\t"), std::string::npos) << word;
  auto options = orchestrator_options(hosted.config, {}, Secret(word));
  ASSERT_TRUE(options) << options.error().what;
  EXPECT_EQ(options->headers.get("x-team"), "a b");
  EXPECT_EQ(options->headers.get("x-other"), "1+1=2");
  env["ANTHROPIC_CUSTOM_HEADERS"] = "Host: elsewhere";
  EXPECT_TRUE(taken(env).refused.contains("ANTHROPIC_CUSTOM_HEADERS: line 1"));
  env.erase("ANTHROPIC_ENVIRONMENT_KEY");
  EXPECT_TRUE(taken(env).given.keys.empty());
}

}  // namespace
}  // namespace glovebox::app

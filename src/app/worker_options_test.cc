#include "app/worker_options.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "app/commands.h"
#include "app/local_hands.h"

namespace glovebox::app {
namespace {

const cli::Environment kItem = {{"ANTHROPIC_ENVIRONMENT_ID", "env_1"},
                                {"ANTHROPIC_ENVIRONMENT_KEY", "key-1"},
                                {"ANTHROPIC_WORK_ID", "work_1"},
                                {"ANTHROPIC_SESSION_ID", "sesn_1"}};
// {"sessions_token":"token-1"}
constexpr const char* kSecret = "eyJzZXNzaW9uc190b2tlbiI6InRva2VuLTEifQ";

cli::Args parsed(const cli::Command& command, std::vector<std::string> words) {
  auto args = cli::Args::parse(command.usage, words);
  EXPECT_TRUE(args) << args.error().what;
  return *args;
}

Result<WorkerOptions> poll(std::vector<std::string> words, cli::Environment env = kItem) {
  return poll_options(parsed(kWorkerPoll, std::move(words)), {.env = std::move(env)});
}

Result<RunOptions> run(std::vector<std::string> words, cli::Environment env = kItem,
                       std::optional<std::string> item = std::nullopt) {
  return run_options(parsed(kWorkerRun, std::move(words)), {.env = std::move(env)},
                     std::move(item));
}

cli::Environment with(std::string name, std::string value) {
  cli::Environment env = kItem;
  env[std::move(name)] = std::move(value);
  return env;
}

TEST(WorkerOptions, DefaultsAreTheOfficialOnes) {
  auto options = poll({});
  ASSERT_TRUE(options) << options.error().what;
  EXPECT_EQ(options->service_url, "https://api.anthropic.com");
  EXPECT_FALSE(options->base_url_is_set);
  EXPECT_EQ(options->workdir, std::filesystem::current_path());
  EXPECT_EQ(options->max_idle, 60s);
  EXPECT_EQ(options->max_sessions, 1);
  EXPECT_EQ(options->script, "");
  EXPECT_EQ(options->log_format, log::Format::text);
  EXPECT_FALSE(options->worker_id.empty());
}

TEST(WorkerOptions, FlagsBeatVariables) {
  cli::Environment env = with("ANTHROPIC_WORKER_ID", "mine");
  env["ANTHROPIC_BASE_URL"] = "http://127.0.0.1:1/base/";
  auto options = poll({}, env);
  ASSERT_TRUE(options) << options.error().what;
  EXPECT_EQ(options->worker_id, "mine");
  EXPECT_EQ(options->service_url, "http://127.0.0.1:1/base");
  options = poll({"--worker-id=w", "--environment-id", "env_2", "--base-url=http://127.0.0.1:2",
                  "--max-idle=0", "--log-format=json", "--workdir=/", "--max-sessions=3"},
                 env);
  ASSERT_TRUE(options) << options.error().what;
  EXPECT_EQ(options->worker_id, "w");
  EXPECT_EQ(options->environment_id, "env_2");
  EXPECT_EQ(options->service_url, "http://127.0.0.1:2");
  EXPECT_EQ(options->max_idle, 0ms);
  EXPECT_EQ(options->log_format, log::Format::json);
  EXPECT_EQ(options->workdir, "/");
  EXPECT_EQ(options->max_sessions, 3);
}

TEST(WorkerOptions, WhatIsMissingOrContradictsIsWrongUsage) {
  const std::vector<std::pair<std::vector<std::string>, cli::Environment>> kWrong = {
      {{}, with("ANTHROPIC_ENVIRONMENT_ID", "")},
      {{}, with("ANTHROPIC_ENVIRONMENT_KEY", "")},
      {{}, with("ANTHROPIC_BASE_URL", "no url")},
      {{}, with("ANTHROPIC_ENVIRONMENT_KEY", "gb-env-x")},  // would go to the hosted service
      {{"--log-format=xml"}, kItem},
      {{"--max-idle=soon"}, kItem},
      {{"--max-sessions=0"}, kItem},
      {{"--image=x"}, kItem},
      {{"--heartbeat"}, kItem},
      {{"--sandbox", "--workdir=/"}, kItem},
      {{"--sandbox", "--on-work=/bin/true"}, kItem},
  };
  for (const auto& [words, env] : kWrong) {
    auto options = poll(words, env);
    ASSERT_FALSE(options) << (words.empty() ? "" : words[0]);
    EXPECT_TRUE(cli::is_usage_error(options.error())) << options.error().what;
  }
}

TEST(WorkerOptions, PlacesThatCannotServeAreErrorsAtOnce) {
  for (const char* flag : {"--workdir=/nothing", "--workdir=/bin/true", "--on-work=/nothing",
                           "--on-work=/etc/passwd"}) {
    auto options = poll({flag});
    ASSERT_FALSE(options) << flag;
    EXPECT_FALSE(cli::is_usage_error(options.error())) << options.error().what;
  }
}

TEST(WorkerOptions, InProcessIsNoScript) {
  EXPECT_EQ(poll({"--on-work=in-process"})->script, "");
  EXPECT_EQ(poll({"--on-work="})->script, "");
  EXPECT_EQ(poll({"--on-work=/bin/true"})->script, std::filesystem::canonical("/bin/true"));
}

TEST(WorkerOptions, AnItemIsMadeOfVariables) {
  auto options = run({}, with("ANTHROPIC_WORK_SECRET", kSecret));
  ASSERT_TRUE(options) << options.error().what;
  EXPECT_EQ(options->work.id, "work_1");
  EXPECT_EQ(options->work.session_id, "sesn_1");
  EXPECT_EQ(options->work.environment_id, "env_1");
  EXPECT_EQ(options->work.kind, "session");
  EXPECT_TRUE(options->work.token.equals("token-1"));
}

TEST(WorkerOptions, AnItemOnStdinNeedsNoVariables) {
  auto options = run({}, {},
                     str(R"({"id":"work_2","environment_id":"env_2","secret":")", kSecret,
                         R"(","data":{"type":"session","id":"sesn_2"}})"));
  ASSERT_TRUE(options) << options.error().what;
  EXPECT_EQ(options->work.id, "work_2");
  EXPECT_EQ(options->work.session_id, "sesn_2");
  EXPECT_EQ(options->work.environment_id, "env_2");
  EXPECT_TRUE(options->work.token.equals("token-1"));
}

TEST(WorkerOptions, AnItemWithoutACredentialIsRefused) {
  cli::Environment env = with("ANTHROPIC_ENVIRONMENT_KEY", "");
  EXPECT_FALSE(run({}, env));
  env["ANTHROPIC_WORK_SECRET"] = "garbage";
  EXPECT_FALSE(run({}, env));
  env["ANTHROPIC_WORK_SECRET"] = kSecret;
  EXPECT_TRUE(run({}, env));
}

TEST(WorkerOptions, CustomHeadersThatCannotBeSentAreWrongUsageAndNotShown) {
  auto options = run({}, with("ANTHROPIC_CUSTOM_HEADERS", "X: fine\na b: secret"));
  ASSERT_FALSE(options);
  EXPECT_TRUE(cli::is_usage_error(options.error()));
  EXPECT_TRUE(options.error().what.contains("ANTHROPIC_CUSTOM_HEADERS: line 2"));
  EXPECT_FALSE(options.error().what.contains("secret"));
}

TEST(WorkerOptions, DurationsMayHaveSeveralParts) {
  EXPECT_EQ(*parse_long_duration("1m30s"), 90s);
  EXPECT_EQ(*parse_long_duration("1.5h"), 90min);
  EXPECT_EQ(*parse_long_duration("0"), 0ms);
  EXPECT_EQ(*parse_long_duration("250ms"), 250ms);
  for (const char* wrong : {"", "soon", "1m30x", "-1s", "m"})
    EXPECT_FALSE(parse_long_duration(wrong)) << wrong;
}

TEST(WorkerOptions, ToolsSeeNoAnthropicVariableInWhateverCase) {
  cli::Environment env = kItem;
  env["anthropic_low"] = env["Anthropic_Mixed"] = env["ANTHROPIC_"] = "x";
  env["MY_ANTHROPIC"] = env["PATH"] = "kept";
  EXPECT_EQ(environment_for_tools(env),
            (std::vector<std::string>{"MY_ANTHROPIC=kept", "PATH=kept"}));
}

}  // namespace
}  // namespace glovebox::app

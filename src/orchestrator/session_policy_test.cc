#include "orchestrator/session_policy.h"

#include <gtest/gtest.h>

#include "net/task.h"

namespace glovebox::orchestrator {
namespace {

runner::Session session(std::string metadata) {
  return {"sesn_1", "idle", str(R"({"id":"sesn_1","metadata":{)", metadata, "}}")};
}
const Ceiling kCeiling{.images = {"tools:1"}, .snapshots = {"*"}, .volumes = {"models"}};

TEST(SessionPolicy, WithoutAWordThereAreTheOutputsAndNothingElse) {
  for (const char* text : {"", R"("project":"x")", R"("session.unknown":"x")"}) {
    auto wish = wish_of(session(text), {});
    ASSERT_TRUE(wish) << wish.error().what;
    EXPECT_EQ(wish->image, "");
    EXPECT_FALSE(wish->internet);
    EXPECT_FALSE(wish->ephemeral);
    ASSERT_EQ(wish->volumes.size(), 1u);
    EXPECT_EQ(wish->volumes[0].name, "outputs-sesn_1");
    EXPECT_EQ(wish->volumes[0].path, "/mnt/session/outputs");
    EXPECT_TRUE(wish->volumes[0].own && wish->volumes[0].optional);
  }
}

TEST(SessionPolicy, PicksFromWhatIsOffered) {
  auto wish = wish_of(session(R"("session.image":"tools:1","session.snapshot":"s9",
    "session.volume":"per-session,models:/models:ro","session.network":"none",
    "session.box":"ephemeral","session.isolation":"namespace")"),
                      kCeiling);
  ASSERT_TRUE(wish) << wish.error().what;
  EXPECT_EQ(wish->image, "tools:1");
  EXPECT_EQ(wish->snapshot, "s9");
  EXPECT_EQ(wish->isolation, "namespace");
  EXPECT_TRUE(wish->ephemeral);
  EXPECT_FALSE(wish->internet);
  ASSERT_EQ(wish->volumes.size(), 3u);
  EXPECT_EQ(wish->volumes[1].name, "session-sesn_1");
  EXPECT_TRUE(wish->volumes[1].own);
  EXPECT_EQ(wish->volumes[2].name, "models");
  EXPECT_EQ(wish->volumes[2].path, "/models");
  EXPECT_TRUE(wish->volumes[2].read_only);
  EXPECT_FALSE(wish->volumes[2].own);
}

TEST(SessionPolicy, WhatIsNotOfferedIsRefusedByName) {
  for (const char* text :
       {R"("session.image":"other")", R"("session.volume":"secrets:/s")",
        R"("session.volume":"outputs-sesn_2:/other")", R"("session.network":"internet")",
        R"("session.network":"host")", R"("session.box":"x")", R"("session.volume":"models")",
        R"("session.volume":"models:relative")", R"("session.isolation":"none")"}) {
    auto wish = wish_of(session(text), kCeiling);
    ASSERT_FALSE(wish) << text;
    std::string key(std::string_view(text).substr(1, std::string_view(text).find('"', 1) - 1));
    EXPECT_NE(wish.error().what.find(key), std::string::npos) << wish.error().what;
  }
}

Task<void> note(std::vector<std::string>* told, std::string why) {
  told->push_back(std::move(why));
  co_return ok;
}
Task<void> called(std::shared_ptr<runner::Hands> hands) {
  EXPECT_TRUE(hands->has("bash"));
  CO_TRY_DO(co_await hands->open());
  CO_TRY(result, co_await hands->call({"1", "bash", "{}"}));
  EXPECT_TRUE(result.is_error);
  EXPECT_NE(result.content.find("is not offered"), std::string::npos);
  co_return co_await hands->close(runner::Hands::End::clean);
}

TEST(SessionPolicy, ARefusalIsWhatEveryCallSays) {
  net::Loop loop;
  std::vector<std::string> told;
  auto hear = [&](std::string why) { return note(&told, std::move(why)); };
  ASSERT_TRUE(net::run(loop, called(refusing({Code::forbidden, "'x' is not offered here"}, hear))));
  EXPECT_EQ(told.size(), 1u);
}

}  // namespace
}  // namespace glovebox::orchestrator

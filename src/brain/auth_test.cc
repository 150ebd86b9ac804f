#include "brain/auth.h"

#include <gtest/gtest.h>

#include "brain/ids.h"
#include "brain/sqlite_store.h"

namespace glovebox::brain {
namespace {

using Header = std::pair<std::string, std::string>;

struct Auth : testing::Test {
  std::unique_ptr<SqliteStore> store = std::move(*SqliteStore::open(":memory:"));
  Keyring keyring{*store, {Secret("gb-api-1"), Secret("metrics-1"), {}}};

  Result<Credential> who(std::vector<Header> headers) {
    http::Request request;
    for (auto& [name, value] : headers) request.headers.add(name, value);
    return keyring.credential_of(request);
  }
};

}  // namespace

TEST_F(Auth, KeyCountsInEitherHeader) {
  for (Header header : {Header{"x-api-key", "gb-api-1"},
                        {"Authorization", "Bearer gb-api-1"},
                        {"authorization", "bearer  gb-api-1 "}}) {
    auto found = who({header});
    ASSERT_TRUE(found) << header.second;
    EXPECT_EQ(found->kind, Who::api);
  }
}

TEST_F(Auth, WhatIsNoKeyIsUnauthenticated) {
  for (auto headers : std::vector<std::vector<Header>>{{},
                                                       {{"x-api-key", ""}},
                                                       {{"Authorization", "gb-api-1"}},
                                                       {{"Authorization", "Basic gb-api-1"}},
                                                       {{"Authorization", "Bearer gb-api-12"}},
                                                       {{"Authorization", "Bearer gb-api-"}},
                                                       {{"x-api-key", std::string(5000, 'a')}}}) {
    auto found = who(headers);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Code::unauthenticated);
  }
}

TEST_F(Auth, EmptyKeyOpensNothing) {
  keyring.set({});
  EXPECT_FALSE(who({{"x-api-key", ""}}));
  EXPECT_FALSE(who({{"Authorization", "Bearer "}}));
}

TEST_F(Auth, OfTwoHeadersTheOneThatIsKnownCounts) {
  ASSERT_TRUE(store->add_key({.id = "ekey_1", .environment_id = "env_1", .hash = hash_of("env")}));
  auto found = who({{"x-api-key", "parent's"}, {"Authorization", "Bearer env"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->kind, Who::environment);
  found = who({{"x-api-key", "gb-api-1"}, {"Authorization", "Bearer env"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->kind, Who::api);
}

TEST_F(Auth, EnvironmentKeyKnowsItsEnvironmentUntilItIsRevoked) {
  ASSERT_TRUE(store->add_key({.id = "ekey_1", .environment_id = "env_1", .hash = hash_of("one")}));
  ASSERT_TRUE(store->add_key({.id = "ekey_2", .environment_id = "env_1", .hash = hash_of("two")}));
  auto found = who({{"Authorization", "Bearer two"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->environment_id, "env_1");
  EXPECT_EQ(found->id, "ekey_2");
  ASSERT_TRUE(store->revoke_key("ekey_2", 1));
  EXPECT_FALSE(who({{"Authorization", "Bearer two"}}));
  EXPECT_TRUE(who({{"Authorization", "Bearer one"}}));
}

TEST_F(Auth, TokenKnowsItsItemUntilItExpires) {
  ASSERT_TRUE(store->add_token({.hash = hash_of("t"),
                                .work_id = "work_1",
                                .environment_id = "env_1",
                                .session_id = "sesn_1",
                                .delivery = 3}));
  auto found = who({{"Authorization", "Bearer t"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->kind, Who::session);
  EXPECT_EQ(found->work_id, "work_1");
  EXPECT_EQ(found->session_id, "sesn_1");
  EXPECT_EQ(found->delivery, 3);
  ASSERT_TRUE(store->expire_tokens("work_1", now_us() - 1));
  EXPECT_FALSE(who({{"Authorization", "Bearer t"}}));
}

TEST_F(Auth, HashItselfIsNoKey) {
  ASSERT_TRUE(store->add_key({.id = "ekey_1", .environment_id = "env_1", .hash = hash_of("one")}));
  EXPECT_FALSE(who({{"Authorization", "Bearer " + hash_of("one")}}));
}

TEST_F(Auth, RotatedKeyCountsFromTheNextRequestOn) {
  keyring.set({Secret("gb-api-2"), {}, {}});
  EXPECT_FALSE(who({{"x-api-key", "gb-api-1"}}));
  EXPECT_TRUE(who({{"x-api-key", "gb-api-2"}}));
}

TEST(Hint, ShowsTooLittleToBeUsed) {
  EXPECT_EQ(hint_of("gb-env-abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE"), "gb-env-ab…DE");
  EXPECT_EQ(hint_of("sk-ant-oat01-abcdefghijklmnopqrstuvwxyz"), "sk-ant-oat01-ab…yz");
  EXPECT_EQ(hint_of("short"), "…");
  EXPECT_EQ(hint_of(""), "…");
}

}  // namespace glovebox::brain

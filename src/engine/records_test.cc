#include "engine/records.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/temp_dir.h"

namespace glovebox::engine {
namespace {

Row row(std::string id, std::string name = "") {
  Row made;
  made.record.id = std::move(id);
  made.record.name = std::move(name);
  made.record.created_at = 1;
  made.base = 7;
  return made;
}

struct RecordsTest : testing::Test {
  Records records = std::move(Records::open(":memory:").value());
};

TEST_F(RecordsTest, IsFoundByIdAndByLiveName) {
  ASSERT_TRUE(records.insert(row("a", "web")));
  EXPECT_EQ(records.find("web")->id, "a");
  auto ended = records.find("a").value();
  ended.status = wire::State::terminated;
  ASSERT_TRUE(records.save(ended));
  EXPECT_EQ(records.find("web").error().code, Code::not_found);
  EXPECT_EQ(records.find("a")->status, wire::State::terminated);
  EXPECT_EQ(records.next_generation("web").value(), 2u);
}

TEST_F(RecordsTest, OneLiveNameCannotBeTwoSandboxes) {
  ASSERT_TRUE(records.insert(row("a", "web")));
  EXPECT_FALSE(records.insert(row("b", "web")));
  EXPECT_TRUE(records.insert(row("c")));
  EXPECT_TRUE(records.insert(row("d")));  // no name is no name
}

TEST_F(RecordsTest, PagesGoThroughAllNewestFirstAndBack) {
  for (auto id : {"a", "b", "c", "d", "e"}) ASSERT_TRUE(records.insert(row(id)));
  std::string seen;
  ListQuery query{.limit = 2};
  std::string last_previous;
  do {
    auto page = records.list(query).value();
    for (auto& record : page.records) seen += record.id;
    query.cursor = page.next;
    last_previous = page.previous;
  } while (!query.cursor.empty());
  EXPECT_EQ(seen, "edcba");
  auto back = records.list({.limit = 2, .cursor = last_previous, .backward = true}).value();
  ASSERT_EQ(back.records.size(), 2u);
  EXPECT_EQ(back.records[0].id + back.records[1].id, "cb");
  EXPECT_EQ(records.list({.cursor = "x"}).error().code, Code::invalid);
}

TEST_F(RecordsTest, WhatIsNotCleanedIsRememberedWithItsIds) {
  ASSERT_TRUE(records.insert(row("a")));
  ASSERT_TRUE(records.insert(row("b")));
  ASSERT_TRUE(records.mark_cleaned("a"));
  auto left = records.uncleaned().value();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].record.id, "b");
  EXPECT_EQ(left[0].base, 7u);
}

TEST(RecordsOfBefore, WhatASandboxThatLivesWasStartedWithIsUnknownNotNothing) {
  const std::string path = make_temp_dir("glovebox-records");
  const std::string file = str(path, "/engine.db");
  {
    auto records = Records::open(file).value();
    Row ended = row("ended"), noted = row("noted");
    ended.record.status = wire::State::terminated;
    noted.record.host_generation = "abc";
    for (const Row& one : {row("bare"), ended, noted}) ASSERT_TRUE(records.insert(one));
    ASSERT_TRUE(records.database().exec("PRAGMA user_version = 5"));
  }
  {
    auto records = Records::open(file).value();
    EXPECT_EQ(records.find("bare")->host_generation, kUnknown);
    EXPECT_EQ(records.find("bare")->inside_version, kUnknown);
    EXPECT_EQ(records.find("noted")->host_generation, "abc");
    EXPECT_EQ(records.find("ended")->host_generation, "");
    ASSERT_TRUE(records.insert(row("new")));
  }
  EXPECT_EQ(Records::open(file)->find("new")->host_generation, "");
  std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace glovebox::engine

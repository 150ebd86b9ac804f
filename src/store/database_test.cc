#include "store/database.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <thread>

#include "base/temp_dir.h"

namespace glovebox::store {
namespace {

constexpr Migration kMigrations[] = {
    {1, "CREATE TABLE box(id TEXT PRIMARY KEY, memory INTEGER) STRICT"},
    {2, "ALTER TABLE box ADD COLUMN cpus REAL; CREATE INDEX by_memory ON box(memory)"},
};

class Folder {
 public:
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  const std::string path_ = make_temp_dir("store_test");
};

Database in_memory() { return std::move(*Database::open(":memory:", kMigrations)); }

std::int64_t count(Database& db) {
  auto query = db.prepare("SELECT count(*) FROM box");
  EXPECT_TRUE(*query->step());
  return query->integer(0);
}

TEST(Database, ValuesComeBackAsTheyWent) {
  Database db = in_memory();
  std::string odd("nul\0inside", 10);
  ASSERT_TRUE(db.prepare("INSERT INTO box VALUES (?, ?, ?)")->bind(odd, INT64_MIN, 0.5).run());
  ASSERT_TRUE(db.prepare("INSERT INTO box VALUES (?, ?, ?)")->bind("", std::nullopt, 2.0).run());
  auto query = db.prepare("SELECT id, memory, cpus FROM box ORDER BY cpus");
  ASSERT_TRUE(query);
  ASSERT_TRUE(*query->step());
  EXPECT_EQ(query->text(0), odd);
  EXPECT_EQ(query->integer(1), INT64_MIN);
  EXPECT_EQ(query->real(2), 0.5);
  ASSERT_TRUE(*query->step());
  EXPECT_EQ(query->text(0), "");
  EXPECT_FALSE(query->null(0));
  EXPECT_TRUE(query->null(1));
  EXPECT_FALSE(*query->step());
}

TEST(Database, ABrokenConstraintIsAConflict) {
  Database db = in_memory();
  auto insert = db.prepare("INSERT INTO box(id) VALUES (?)");
  ASSERT_TRUE(insert->bind("a").run());
  auto again = insert->bind("a").run();
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::conflict);
  EXPECT_TRUE(insert->bind("b").run());  // and the statement is still good
}

TEST(Database, OneTextMayBeInUseTwice) {
  Database db = in_memory();
  ASSERT_TRUE(db.exec("INSERT INTO box(id) VALUES ('a'), ('b')"));
  auto outer = db.prepare("SELECT id FROM box ORDER BY id");
  ASSERT_TRUE(*outer->step());
  {
    auto inner = db.prepare("SELECT id FROM box ORDER BY id");
    ASSERT_TRUE(*inner->step());
    EXPECT_EQ(inner->text(0), "a");
  }
  ASSERT_TRUE(*outer->step());
  EXPECT_EQ(outer->text(0), "b");
}

TEST(Database, AStatementComesBackCleanFromTheCache) {
  Database db = in_memory();
  constexpr const char* kInsert = "INSERT INTO box(id, memory) VALUES (?, ?)";
  ASSERT_TRUE(db.prepare(kInsert)->bind("a", 7).run());
  ASSERT_TRUE(db.prepare(kInsert)->bind("b").run());  // the second value is not the 7 of before
  auto query = db.prepare("SELECT memory FROM box WHERE id = 'b'");
  ASSERT_TRUE(*query->step());
  EXPECT_TRUE(query->null(0));
}

TEST(Database, TooManyValuesAreRefusedAndNotDropped) {
  Database db = in_memory();
  EXPECT_FALSE(db.prepare("INSERT INTO box(id) VALUES (?)")->bind("a", 1).run());
  EXPECT_EQ(count(db), 0);
}

TEST(Database, OnlyOneStatementIsPrepared) {
  Database db = in_memory();
  EXPECT_FALSE(db.prepare("SELECT 1; DELETE FROM box"));
  EXPECT_FALSE(db.prepare(""));
}

TEST(Database, ATransactionThatIsDroppedLeavesNothing) {
  Database db = in_memory();
  {
    auto transaction = db.begin();
    ASSERT_TRUE(transaction);
    ASSERT_TRUE(db.exec("INSERT INTO box(id) VALUES ('a')"));
  }
  EXPECT_EQ(count(db), 0);
  auto transaction = db.begin();
  ASSERT_TRUE(transaction);
  ASSERT_TRUE(db.exec("INSERT INTO box(id) VALUES ('a')"));
  ASSERT_TRUE(transaction->commit());
  EXPECT_EQ(count(db), 1);
}

TEST(Database, MigrationsAreAppliedOnceAndInOrder) {
  Folder folder;
  ASSERT_TRUE(Database::open(folder.file("db"), std::span(kMigrations).first(1)));
  {
    auto db = Database::open(folder.file("db"), kMigrations);
    ASSERT_TRUE(db) << db.error().what;
    ASSERT_TRUE(db->exec("INSERT INTO box VALUES ('a', 1, 2.0)"));
  }
  auto db = Database::open(folder.file("db"), kMigrations);
  ASSERT_TRUE(db) << db.error().what;
  EXPECT_EQ(count(*db), 1);
}

TEST(Database, AFailedMigrationChangesNothing) {
  Folder folder;
  constexpr Migration kBroken[] = {kMigrations[0],
                                   {2, "CREATE TABLE half(x); CREATE TABLE box(y)"}};
  EXPECT_FALSE(Database::open(folder.file("db"), kBroken));
  auto db = Database::open(folder.file("db"), kMigrations);
  ASSERT_TRUE(db) << db.error().what;
  EXPECT_FALSE(db->prepare("SELECT * FROM half"));
}

TEST(Database, ANewerDatabaseIsRefused) {
  Folder folder;
  ASSERT_TRUE(Database::open(folder.file("db"), kMigrations));
  auto older = Database::open(folder.file("db"), std::span(kMigrations).first(1));
  ASSERT_FALSE(older);
  EXPECT_EQ(older.error().code, Code::unsupported);
}

TEST(Database, SyncMayBeCalledByManyAtOnceBesideWrites) {
  Folder folder;
  auto db = Database::open(folder.file("db"), kMigrations);
  ASSERT_TRUE(db);
  std::atomic<int> synced = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 5; ++k) synced += db->sync() ? 1 : 0;
    });
  auto insert = db->prepare("INSERT INTO box(id) VALUES (?)");
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(insert->bind(str(i)).run());
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(synced, 40);
}

TEST(Database, ACommitOutlivesAKill) {
  Folder folder;
  ASSERT_EXIT(
      {
        auto db = Database::open(folder.file("db"), kMigrations);
        (void)db->exec("INSERT INTO box(id) VALUES ('kept')");
        ::raise(SIGKILL);
      },
      testing::KilledBySignal(SIGKILL), "");
  auto db = Database::open(folder.file("db"), kMigrations);
  ASSERT_TRUE(db) << db.error().what;
  EXPECT_EQ(count(*db), 1);
}

TEST(Database, WhatIsNotADatabaseIsRefused) {
  Folder folder;
  std::filesystem::create_directory(folder.file("db"));
  EXPECT_FALSE(Database::open(folder.file("db"), kMigrations));
  EXPECT_FALSE(Database::open(folder.file("no/such/folder"), kMigrations));
}

}  // namespace
}  // namespace glovebox::store

#include "app/users.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

namespace glovebox::app {
namespace {

namespace fs = std::filesystem;

class Users : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give files to others";
    std::string pattern = (fs::temp_directory_path() / "glovebox-users-XXXXXX").string();
    ASSERT_TRUE(::mkdtemp(pattern.data()));
    dir_ = pattern;
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }
  Result<User> user(const std::string& instance) {
    fs::create_directories(dir_ + "/" + instance);
    return user_for("test", dir_ + "/" + instance + "/test", dir_ + "/claims");
  }
  uid_t owner(const std::string& path) {
    struct stat info{};
    EXPECT_EQ(::lstat((dir_ + "/" + path).c_str(), &info), 0) << path;
    return info.st_uid;
  }
  std::string dir_;
};

TEST_F(Users, APartOwnsItsDirectoryAndNobodyElseMayLook) {
  auto one = user("one");
  ASSERT_TRUE(one) << one.error().what;
  EXPECT_GE(one->uid, kFirstUser);
  EXPECT_LE(one->uid, kLastUser);
  EXPECT_EQ(owner("one/test"), one->uid);
  EXPECT_EQ(fs::status(dir_ + "/one/test").permissions(), fs::perms::owner_all);
}

TEST_F(Users, TheDirectoryRemembersItsUser) {
  auto before = user("one");
  ASSERT_TRUE(before);
  fs::remove_all(dir_ + "/claims");  // as a reboot does
  EXPECT_EQ(user("one")->uid, before->uid);
}

TEST_F(Users, TwoInstancesNeverShareOne) {
  std::set<uid_t> all;
  for (int i = 0; i < 50; ++i) {
    auto made = user(str("instance-", i));
    ASSERT_TRUE(made) << made.error().what;
    all.insert(made->uid);
  }
  EXPECT_EQ(all.size(), 50u);
}

TEST_F(Users, WhoLosesItsIdKeepsItsFiles) {
  auto one = user("one");
  ASSERT_TRUE(one);
  std::ofstream(dir_ + "/one/test/brain.db") << "x";
  fs::create_directory(dir_ + "/one/test/below");
  std::ofstream(dir_ + "/one/test/below/file") << "x";
  fs::create_symlink("/etc/passwd", dir_ + "/one/test/link");
  for (const char* path : {"one/test/brain.db", "one/test/below", "one/test/below/file"})
    ASSERT_EQ(::chown((dir_ + "/" + path).c_str(), one->uid, one->gid), 0);
  // Somebody else got the id meanwhile: the claims were forgotten, and it came first.
  fs::remove_all(dir_ + "/claims");
  fs::create_directories(dir_ + "/two/test");
  ASSERT_EQ(::chown((dir_ + "/two/test").c_str(), one->uid, one->gid), 0);
  ASSERT_EQ(user("two")->uid, one->uid);
  auto again = user("one");
  ASSERT_TRUE(again);
  EXPECT_NE(again->uid, one->uid);
  for (const char* path : {"one/test", "one/test/brain.db", "one/test/below/file"})
    EXPECT_EQ(owner(path), again->uid) << path;
  struct stat passwd{};
  ASSERT_EQ(::stat("/etc/passwd", &passwd), 0);
  EXPECT_EQ(passwd.st_uid, 0u);
}

TEST_F(Users, AFileWithASecondNameIsNotGivenAway) {
  auto one = user("one");
  ASSERT_TRUE(one);
  std::ofstream(dir_ + "/of-root") << "x";
  fs::create_hard_link(dir_ + "/of-root", dir_ + "/one/test/mine");
  fs::remove_all(dir_ + "/claims");
  fs::create_directories(dir_ + "/two/test");
  ASSERT_EQ(::chown((dir_ + "/two/test").c_str(), one->uid, one->gid), 0);
  ASSERT_TRUE(user("two"));
  ASSERT_TRUE(user("one"));
  EXPECT_EQ(owner("of-root"), 0u);
}

TEST_F(Users, WhatIsReleasedIsFree) {
  auto one = user("one");
  ASSERT_TRUE(one);
  ASSERT_TRUE(release_user(dir_ + "/one/test", dir_ + "/claims"));
  EXPECT_FALSE(fs::exists(str(dir_, "/claims/user-", one->uid)));
  ASSERT_TRUE(release_user(dir_ + "/one/test", dir_ + "/claims"));  // no error the second time
}

TEST_F(Users, SaysWhatIsClosedToOthers) {
  fs::create_directories(dir_ + "/a/b");
  EXPECT_EQ(closed_to_others(dir_ + "/a/b"), dir_);  // made by mkdtemp
  fs::permissions(dir_, fs::perms::others_exec, fs::perm_options::add);
  EXPECT_EQ(closed_to_others(dir_ + "/a/b"), "");
  fs::permissions(dir_ + "/a", fs::perms::owner_all);
  EXPECT_EQ(closed_to_others(dir_ + "/a/b"), dir_ + "/a");
}

}  // namespace
}  // namespace glovebox::app

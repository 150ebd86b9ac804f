#include "orchestrator/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"
#include "orchestrator/environment_lock.h"

namespace glovebox::orchestrator {
namespace {

class Folder : public ::testing::Test {
 protected:
  Folder() { path_ = make_temp_dir("glovebox-orchestrator"); }
  ~Folder() override { std::filesystem::remove_all(path_); }
  std::string path_;
};

using JournalTest = Folder;
using EnvironmentLockTest = Folder;

TEST_F(JournalTest, RemembersWhatIsHeldAcrossOpenings) {
  const std::string file = path_ + "/journal.db";
  {
    auto journal = Journal::open(file);
    ASSERT_TRUE(journal) << journal.error().what;
    ASSERT_TRUE(journal->add({.work = "w1", .environment = "e", .session = "s1", .touched_ms = 5}));
    ASSERT_TRUE(journal->add({.work = "w2", .environment = "e", .session = "s2"}));
    ASSERT_TRUE(journal->add({.work = "w3", .environment = "other", .session = "s3"}));
    ASSERT_TRUE(journal->hold("w1"));
    ASSERT_TRUE(journal->beat("w1", "beat-3", 70, 300'000));
    ASSERT_TRUE(journal->box("w1", "box9"));
    ASSERT_TRUE(journal->remove("w2"));
  }
  auto journal = Journal::open(file);
  ASSERT_TRUE(journal);
  auto claims = journal->all("e");
  ASSERT_TRUE(claims);
  ASSERT_EQ(claims->size(), 1u);
  const Claim& claim = claims->front();
  EXPECT_EQ(claim.work, "w1");
  EXPECT_EQ(claim.session, "s1");
  EXPECT_EQ(claim.state, Claim::State::held);
  EXPECT_EQ(claim.last_heartbeat, "beat-3");
  EXPECT_EQ(claim.touched_ms, 70);
  EXPECT_EQ(claim.ttl_ms, 300'000);
  EXPECT_EQ(claim.box, "box9");
}

TEST_F(EnvironmentLockTest, OneHolderAtATime) {
  {
    auto first = EnvironmentLock::take(path_ + "/locks", "env_1");
    ASSERT_TRUE(first) << first.error().what;
    auto second = EnvironmentLock::take(path_ + "/locks", "env_1");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::conflict);
    EXPECT_NE(second.error().what.find(str("pid ", ::getpid())), std::string::npos);
    EXPECT_TRUE(EnvironmentLock::take(path_ + "/locks", "env_2"));
    EXPECT_TRUE(EnvironmentLock::take(path_ + "/locks", "ENV_1"));
  }
  EXPECT_TRUE(EnvironmentLock::take(path_ + "/locks", "env_1"));
}

TEST_F(EnvironmentLockTest, LinksLeadNowhere) {
  const std::string victim = path_ + "/victim";
  std::ofstream(victim) << "precious";
  auto name = [&] {
    auto made = EnvironmentLock::take(path_ + "/names", "env_1");
    return std::filesystem::directory_iterator(path_ + "/names")->path().filename().string();
  }();
  for (bool symbolic : {true, false}) {
    const std::string locks = path_ + (symbolic ? "/symbolic" : "/hard");
    std::filesystem::create_directory(locks);
    if (symbolic)
      std::filesystem::create_symlink(victim, locks + "/" + name);
    else
      std::filesystem::create_hard_link(victim, locks + "/" + name);
    EXPECT_FALSE(EnvironmentLock::take(locks, "env_1"));
  }
  std::string kept;
  std::ifstream(victim) >> kept;
  EXPECT_EQ(kept, "precious");
}

TEST_F(EnvironmentLockTest, AFifoIsNoLock) {
  auto name = [&] {
    auto made = EnvironmentLock::take(path_ + "/names", "env_1");
    return std::filesystem::directory_iterator(path_ + "/names")->path().filename().string();
  }();
  std::filesystem::create_directory(path_ + "/locks");
  ASSERT_EQ(::mkfifo((path_ + "/locks/" + name).c_str(), 0600), 0);
  EXPECT_FALSE(EnvironmentLock::take(path_ + "/locks", "env_1"));
}

}  // namespace
}  // namespace glovebox::orchestrator

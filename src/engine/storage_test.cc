#include "engine/storage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/temp_dir.h"
#include "sys/mount.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

// A state directory in a mount namespace of this program's own, so that nothing outlives it.
class StorageTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    able_ = ::geteuid() == 0 && sys::own_mount_namespace() &&
            ::access("/dev/loop-control", R_OK | W_OK) == 0 &&
            ::access("/usr/sbin/mkfs.btrfs", X_OK) == 0;
  }
  void SetUp() override {
    if (!able_) GTEST_SKIP() << "needs root, loop devices and mkfs.btrfs";
    dir_ = make_temp_dir("gb-storage");
  }
  void TearDown() override {
    if (dir_.empty()) return;
    unmount();
    EXPECT_TRUE(sys::remove_tree(dir_));
  }
  void unmount() const {
    while (::umount2((dir_ + "/pool").c_str(), MNT_DETACH) == 0) {
    }
  }

  Result<Storage> open(std::int64_t reserve_mb = 1) const {
    return Storage::open({dir_, "", "unittest", reserve_mb});
  }
  static bool able_;
  std::string dir_;
};
bool StorageTest::able_ = false;

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

TEST_F(StorageTest, UppersComeAndGo) {
  auto storage = open();
  ASSERT_TRUE(storage) << storage.error().what;
  ASSERT_TRUE(storage->make_upper("a"));
  EXPECT_TRUE(exists(dir_ + "/pool/boxes/a/u"));
  EXPECT_TRUE(exists(dir_ + "/pool/boxes/a/w"));
  EXPECT_EQ(storage->uppers().value(), std::vector<std::string>{"a"});
  ASSERT_TRUE(sys::create_file(dir_ + "/pool/boxes/a/u/file", "content", 0644));
  EXPECT_TRUE(storage->remove_upper("a"));
  EXPECT_TRUE(storage->remove_upper("a")) << "gone already is success";
  EXPECT_TRUE(storage->uppers()->empty());
}

TEST_F(StorageTest, ASealedCopyKeepsWhatWasAndCannotBeWritten) {
  auto storage = open();
  ASSERT_TRUE(storage);
  ASSERT_TRUE(storage->make_upper("a"));
  const std::string pool = dir_ + "/pool";
  ASSERT_TRUE(sys::create_file(pool + "/boxes/a/u/file", "before", 0644));
  ASSERT_TRUE(storage->seal_upper("a", "s"));
  ASSERT_TRUE(sys::write_file_atomic(pool + "/boxes/a/u/file", "after", 0644));
  ASSERT_TRUE(storage->remove_upper("a"));
  EXPECT_EQ(sys::read_file(pool + "/snapshots/s/u/file", 100).value(), "before");
  EXPECT_FALSE(sys::create_file(pool + "/snapshots/s/u/other", "x", 0644));
  ASSERT_TRUE(storage->copy_upper("b", "s"));
  EXPECT_TRUE(sys::create_file(pool + "/boxes/b/u/other", "x", 0644));
  EXPECT_TRUE(storage->remove_snapshot("s"));
  EXPECT_EQ(sys::read_file(pool + "/boxes/b/u/file", 100).value(), "before");
}

TEST_F(StorageTest, NamesArePlainEntries) {
  auto storage = open();
  ASSERT_TRUE(storage);
  for (auto name : {"", ".", "..", "a/b", "../boxes"}) EXPECT_FALSE(storage->make_upper(name));
  ASSERT_TRUE(storage->make_upper("a"));
  ASSERT_EQ(::symlink("boxes/a", (dir_ + "/pool/snapshots/link").c_str()), 0);
  EXPECT_FALSE(storage->copy_upper("b", "link"));
  EXPECT_FALSE(storage->copy_upper("b", "../boxes/a"))
      << "a snapshot's name must not lead out of the snapshots";
}

TEST_F(StorageTest, ALimitHoldsAndIsCounted) {
  auto storage = open();
  ASSERT_TRUE(storage);
  ASSERT_NE(storage->quota(), sys::Quota::none);
  ASSERT_TRUE(storage->make_upper("a"));
  ASSERT_TRUE(storage->limit_upper("a", 8));
  const std::string path = dir_ + "/pool/boxes/a/u/big";
  Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  const std::string piece(1 << 20, 'x');
  int written = 0, error = 0;
  for (; written < 32; ++written)
    if (::write(file.get(), piece.data(), piece.size()) < 0) {
      error = errno;
      break;
    }
  EXPECT_EQ(error, EDQUOT);
  EXPECT_LE(written, 8);
  EXPECT_GE(written, 6);
  ASSERT_EQ(::fsync(file.get()), 0);
  EXPECT_GT(storage->used_by_upper("a").value(), 6u << 20);
  ASSERT_TRUE(storage->limit_upper("a", 64)) << "it may grow";
  EXPECT_EQ(::write(file.get(), piece.data(), piece.size()), 1 << 20);
}

TEST_F(StorageTest, TheNextEngineFindsTheSamePool) {
  {
    auto first = open();
    ASSERT_TRUE(first);
    ASSERT_TRUE(first->make_upper("a"));
    auto second = open();  // the first one's mount and device are still there
    ASSERT_TRUE(second) << second.error().what;
    EXPECT_EQ(second->uppers().value(), std::vector<std::string>{"a"});
    unmount();
  }
  unmount();
  auto third = open();  // as after a reboot: nothing is mounted
  ASSERT_TRUE(third) << third.error().what;
  EXPECT_EQ(third->uppers().value(), std::vector<std::string>{"a"});
}

TEST_F(StorageTest, ADirectoryThatIsNotOnBtrfsIsRefusedByName) {
  ASSERT_TRUE(sys::make_dirs(dir_ + "/elsewhere", 0700));
  auto storage = Storage::open({dir_, dir_ + "/elsewhere", "unittest", 1});
  ASSERT_FALSE(storage);
  EXPECT_EQ(storage.error().tag, "NO_BTRFS");
  EXPECT_NE(storage.error().what.find(dir_ + "/elsewhere"), std::string::npos);
}

TEST_F(StorageTest, WhatAnInterruptedStartLeftIsNoPool) {
  ASSERT_TRUE(sys::create_file(dir_ + "/pool.btrfs.new", "half of one", 0600));
  auto storage = open();
  ASSERT_TRUE(storage) << storage.error().what;
  EXPECT_FALSE(exists(dir_ + "/pool.btrfs.new"));
}

TEST_F(StorageTest, GrowsAndShrinksWithTheDiskBelow) {
  constexpr std::int64_t kAll = 1 << 30;  // MB: more than any disk has
  auto small = open(kAll);
  ASSERT_TRUE(small);
  auto before = small->room();
  ASSERT_TRUE(before);
  EXPECT_EQ(before->size, 1u << 30);
  EXPECT_FALSE(small->check_room()) << "less is free than is kept in reserve";
  EXPECT_EQ(small->check_room().error().tag, "DISK_FULL");
  if (before->below < 3ull << 30) GTEST_SKIP() << "needs 3 GB of disk";

  auto large = open(1);
  ASSERT_TRUE(large);
  ASSERT_TRUE(large->make_upper("a"));
  ASSERT_TRUE(large->tend());
  EXPECT_GT(large->room()->size, 2ull << 30);
  EXPECT_TRUE(large->check_room());
  ASSERT_TRUE(small->tend());
  EXPECT_EQ(small->room()->size, 1u << 30);
  EXPECT_EQ(large->uppers().value(), std::vector<std::string>{"a"});
}

}  // namespace

}  // namespace glovebox::engine

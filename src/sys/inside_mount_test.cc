#include "sys/inside_mount.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "sys/inside_fixture.h"
#include "sys/mount.h"
#include "sys/tree.h"

namespace glovebox::sys {
namespace {

bool mounted_at(const char* place) {
  return ::mkdir(place, 0755) == 0 && ::mount("tmpfs", place, "tmpfs", 0, "size=64k") == 0;
}

// A root with mounts in it ("own", and a direct directory) and links of somebody hostile.
bool in_own_root() {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", "/mnt", "tmpfs", 0, "size=64k") == 0 && mounted_at("/mnt/own") &&
         mounted_at("/mnt/workspace") && ::symlink("../../..", "/mnt/up") == 0 &&
         ::symlink("/own", "/mnt/trap") == 0 && ::symlink("/workspace", "/mnt/in") == 0 &&
         ::symlink("../own", "/mnt/workspace/trap") == 0 &&
         ::symlink("../../..", "/mnt/workspace/up") == 0 && pivot_to("/mnt").has_value();
}

class InsideMounts : public ProcessInside {
 protected:
  void SetUp() override {
    ASSERT_TRUE(make_dirs(here_, 0755));
    ASSERT_TRUE(create_file(here_ + "/file", "x", 0644));
    start(in_own_root);
  }
  void TearDown() override { EXPECT_TRUE(remove_tree(here_)); }

  bool there(const std::string& path) { return ::access(inside(path).c_str(), F_OK) == 0; }
  Result<void> mount(std::vector<InsideMount> mounts) {
    return mount_in_box(handle_.get(), -1, 0, mounts);
  }
  std::optional<MountedInside> mounted(const std::string& place) {
    auto all = mounts_of(process_->pid());
    EXPECT_TRUE(all);
    for (const auto& one : *all)
      if (one.place == place) return one;
    return std::nullopt;
  }

  const std::string here_ = ::testing::TempDir() + str("glovebox-inside-", ::getpid());
};

TEST_F(InsideMounts, ThePlaceIsMadeAndSeenInThereOnly) {
  auto done = mount({{here_, "/deep/er", false}, {here_, "/looked at", true}});
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_TRUE(there("/deep/er/file"));
  EXPECT_TRUE(create_file(inside("/deep/er/new"), "y", 0644));
  EXPECT_EQ(::access((here_ + "/new").c_str(), F_OK), 0);
  EXPECT_FALSE(create_file(inside("/looked at/other"), "y", 0644));
  EXPECT_NE(::access("/deep/er", F_OK), 0);
  EXPECT_TRUE(mounted("/looked at")) << "a name with a space";
}

TEST_F(InsideMounts, LinksLeadNowhereButIntoTheRoot) {
  auto done = mount({{here_, "/up/place", false}});
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_TRUE(there("/place/file"));
  EXPECT_FALSE(mount({{here_, "/trap/x", false}})) << "into another mount";
  EXPECT_FALSE(mount({{here_, "/own", false}}));
  EXPECT_FALSE(mount({{here_, "/", false}}));
}

TEST_F(InsideMounts, ADirectDirectoryIsOneOfThePlacesAndNoWayElsewhere) {
  for (const char* place : {"/workspace/deep/er", "/in/by/link", "/workspace/up/top"})
    EXPECT_TRUE(mount({{here_, place, false}})) << place;
  EXPECT_TRUE(there("/workspace/deep/er/file"));
  EXPECT_TRUE(there("/workspace/by/link/file"));
  EXPECT_TRUE(there("/top/file"));
  for (const char* place : {"/workspace/trap", "/workspace/trap/x", "/workspace/up/own/x",
                            "/in/trap/x", "/workspace/deep/er/x", "/in/deep/er"}) {
    auto refused = mount({{here_, place, false}});
    ASSERT_FALSE(refused) << place;
    EXPECT_EQ(refused.error().code, Code::invalid) << place;
  }
  EXPECT_FALSE(there("/own/x"));
  EXPECT_FALSE(there("/workspace/deep/er/x"));
  ASSERT_TRUE(mount({{here_, "/workspace", false}})) << "over all of it";
  EXPECT_TRUE(there("/workspace/file"));
}

TEST_F(InsideMounts, AllOrNone) {
  EXPECT_FALSE(mount({{here_, "/first", false}, {here_, "/own/x", false}}));
  EXPECT_FALSE(there("/first/file"));
  EXPECT_FALSE(mount({{here_, "/first", false}, {here_ + "/nothing", "/second", false}}));
  EXPECT_FALSE(there("/first/file"));
}

TEST_F(InsideMounts, OnlyWhatWasMeantIsUnmounted) {
  ASSERT_TRUE(mount({{here_, "/a/v", false}, {here_, "/b/v", false}}));
  auto first = mounted("/a/v"), second = mounted("/b/v");
  ASSERT_TRUE(first && second);
  // Whoever lives in there has the two change places.
  ASSERT_EQ(::rename(inside("/a").c_str(), inside("/c").c_str()), 0);
  ASSERT_EQ(::rename(inside("/b").c_str(), inside("/a").c_str()), 0);
  auto refused = unmount_in_box(handle_.get(), *first);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::not_found);
  EXPECT_TRUE(there("/a/v/file"));
  auto moved = mounted("/c/v");
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->id, first->id);
  auto done = unmount_in_box(handle_.get(), *moved);
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_FALSE(there("/c/v/file"));
  EXPECT_TRUE(there("/a/v/file"));
}

}  // namespace
}  // namespace glovebox::sys

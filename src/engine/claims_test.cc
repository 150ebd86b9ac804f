#include "engine/claims.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <set>

#include "base/temp_dir.h"
#include "sys/tree.h"

namespace glovebox::engine {
namespace {

struct ClaimsTest : testing::Test {
  void SetUp() override {
    dir = make_temp_dir("glovebox-test");
    for (std::string instance : {"one", "two"}) {
      ASSERT_TRUE(sys::make_dirs(dir + "/" + instance, 0700));
      ASSERT_TRUE(sys::write_file_atomic(dir + "/" + instance + "/instance", instance, 0600));
    }
  }
  void TearDown() override { EXPECT_TRUE(sys::remove_tree(dir)); }
  Claims claims(const std::string& instance) {
    return {dir + "/claims", dir + "/" + instance, instance};
  }
  std::string dir;
};

TEST_F(ClaimsTest, TwoInstancesNeverShareARange) {
  auto one = claims("one"), two = claims("two");
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(one.extend());
    ASSERT_TRUE(two.extend());
  }
  std::set<uid_t> all(one.ranges().begin(), one.ranges().end());
  all.insert(two.ranges().begin(), two.ranges().end());
  EXPECT_EQ(all.size(), 6 * Claims::kPerBlock);
}

TEST_F(ClaimsTest, ClaimsAreFoundAgainAfterARestart) {
  auto before = claims("one");
  ASSERT_TRUE(before.extend());
  auto after = claims("one");
  ASSERT_TRUE(after.load());
  EXPECT_EQ(after.ranges(), before.ranges());
}

TEST_F(ClaimsTest, WhatAnInstanceLeftThatIsNoMoreIsTakenOver) {
  auto one = claims("one");
  ASSERT_TRUE(one.extend());
  ASSERT_TRUE(sys::remove_tree(dir + "/one"));
  auto two = claims("two");
  ASSERT_TRUE(two.extend());
  EXPECT_EQ(two.ranges(), one.ranges());
}

TEST_F(ClaimsTest, ReleasedRangesAreFree) {
  auto one = claims("one"), two = claims("two");
  ASSERT_TRUE(one.extend());
  auto before = one.ranges();
  ASSERT_TRUE(one.release());
  ASSERT_TRUE(two.extend());
  EXPECT_EQ(two.ranges(), before);
}

}  // namespace
}  // namespace glovebox::engine

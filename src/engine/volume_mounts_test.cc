#include <gtest/gtest.h>

#include "engine/volumes.h"

namespace glovebox::engine {
namespace {

std::uint64_t id_of(const std::optional<sys::MountedInside>& mount) {
  return mount ? mount->id : 0;
}

TEST(MountsOfVolumes, WhatATenantLedElsewhereIsNotTheOneThatIsWhereItWasSaid) {
  const std::vector<wire::FileSystem> noted = {{"v", "/a"}, {"v", "/c"}};
  auto found = mounts_for(noted, {{1, "/", "/"},
                                  {2, "/pool/volumes/v", "/c"},
                                  {3, "/pool/volumes/v", "/b"},
                                  {4, "/pool/volumes/w", "/a"}});
  EXPECT_EQ(id_of(found[0]), 3u);
  EXPECT_EQ(id_of(found[1]), 2u);
}

TEST(MountsOfVolumes, OneMountIsNotTwo) {
  const std::vector<wire::FileSystem> noted = {{"v", "/a"}, {"v", "/c"}};
  auto found = mounts_for(noted, {{2, "/volumes/v", "/c"}});
  EXPECT_EQ(id_of(found[0]), 0u);
  EXPECT_EQ(id_of(found[1]), 2u);
}

TEST(MountsOfVolumes, TwoMayLieOneAboveTheOther) {
  const std::vector<wire::FileSystem> noted = {{"v", "/a"}, {"v", "/c"}};
  auto found = mounts_for(noted, {{2, "/volumes/v", "/c"}, {3, "/volumes/v", "/c"}});
  EXPECT_EQ(id_of(found[0]), 3u);  // the upper one: it alone can be taken away
  EXPECT_EQ(id_of(found[1]), 2u);
}

}  // namespace
}  // namespace glovebox::engine

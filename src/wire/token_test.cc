#include "wire/token.h"

#include <gtest/gtest.h>

namespace glovebox::wire {
namespace {

const Secret kKey("a key of thirty-two bytes or so!");
const Capability kPty{"inst", "box1", 3, {"pty:7", "port:8080"}, 1000};

TEST(Token, ComesBackAsItWasSigned) {
  auto seen = verify(sign(kPty, kKey), kKey, "inst", 999);
  ASSERT_TRUE(seen) << seen.error().what;
  EXPECT_EQ(seen->box, "box1");
  EXPECT_EQ(seen->generation, 3u);
  EXPECT_EQ(seen->verbs, kPty.verbs);
  EXPECT_EQ(seen->expires_ms, 1000);
}

TEST(Token, EveryReasonToRefuseSoundsTheSame) {
  std::string good = sign(kPty, kKey);
  auto expired = verify(good, kKey, "inst", 1000);
  ASSERT_FALSE(expired);
  EXPECT_EQ(expired.error().code, Code::unauthenticated);
  for (auto refused :
       {verify(good, kKey, "other", 0), verify(good, Secret("another key"), "inst", 0),
        verify(good, Secret(), "inst", 0), verify("", kKey, "inst", 0),
        verify("gb1.", kKey, "inst", 0), verify("gb1..", kKey, "inst", 0),
        verify(good + "A", kKey, "inst", 0), verify(good.substr(4), kKey, "inst", 0),
        verify(std::string(100'000, 'A'), kKey, "inst", 0)}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().what, expired.error().what);
    EXPECT_EQ(refused.error().tag, expired.error().tag);
  }
}

TEST(Token, NoChangedCharacterPasses) {
  const std::string good = sign(kPty, kKey);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = bad[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(verify(bad, kKey, "inst", 0)) << i;
  }
}

TEST(Token, AllowsWhatItNamesAndNothingElse) {
  EXPECT_TRUE(allows(kPty, "box1", 3, "pty:7"));
  EXPECT_FALSE(allows(kPty, "box1", 4, "pty:7"));  // the name was given again: another box
  EXPECT_FALSE(allows(kPty, "box2", 3, "pty:7"));
  EXPECT_FALSE(allows(kPty, "box1", 3, "pty:70"));
  EXPECT_FALSE(allows(kPty, "box1", 3, "pty"));
  EXPECT_FALSE(allows(kPty, "", 3, "pty:7"));
}

}  // namespace
}  // namespace glovebox::wire

#include "engine/network_rules.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

namespace glovebox::engine {
namespace {

const std::vector<std::string> kOwn = {std::string("\x64\x40\0\1", 4), std::string(16, '\1')};

RuleElements elements(bool internet, std::vector<std::string> allow,
                      std::vector<std::string> deny = {}) {
  auto policy = parse_policy({internet, std::move(allow), std::move(deny)});
  EXPECT_TRUE(policy);
  return rule_elements("gbx1", kOwn, *policy);
}

std::vector<std::string> sets(const RuleElements& list) {
  std::vector<std::string> names;
  for (const auto& [set, element] : list) names.push_back(set);
  std::ranges::sort(names);
  return names;
}

TEST(RuleElements, SayWhatThePolicySays) {
  EXPECT_EQ(sets(elements(true, {})), (std::vector<std::string>{"internet", "own4", "own6"}));
  EXPECT_EQ(sets(elements(false, {})), std::vector<std::string>{});
  EXPECT_EQ(sets(elements(false, {"9.9.9.9", "10.0.0.0/8", "2a00::/16"}, {"9.9.9.0/24"})),
            (std::vector<std::string>{"allow4", "allow6", "deny4", "named4", "own4", "own6"}));
  EXPECT_EQ(sets(elements(false, {"10.0.0.1"})),
            (std::vector<std::string>{"host4", "named4", "own4", "own6"}));
}

// In a network of our own: nothing here touches the machine's.
class TableTest : public testing::Test {
 protected:
  void SetUp() override {
    home_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (::unshare(CLONE_NEWNET) < 0) GTEST_SKIP() << "namespaces can be made by root only";
    if (!sys::nft::tables(sys::nft::Family::inet)) GTEST_SKIP() << "no nftables in this kernel";
  }
  void TearDown() override {
    if (::geteuid() == 0) EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);
  }
  Fd home_;
};

TEST_F(TableTest, TheKernelTakesItAndEveryChange) {
  const std::vector<RuleElements> steps = {
      elements(true, {}),
      elements(false, {"9.0.0.0/8", "2a00::/16"}),
      elements(false, {"9.0.0.0/7", "2a00::/16"}, {"9.9.9.9"}),  // takes the old range in
      elements(true, {"9.9.9.9", "10.0.0.1"}),
      {},
      elements(true, {})};
  for (int round = 0; round < 2; ++round) {  // also over one that is there
    sys::nft::Transaction table("glovebox_t");
    write_table(table, "gbxt");
    auto made = table.commit();
    ASSERT_TRUE(made) << made.error().what;
    RuleElements before;
    for (const auto& after : steps) {
      sys::nft::Transaction change("glovebox_t");
      write_change(change, before, after);
      auto done = change.commit();
      ASSERT_TRUE(done) << done.error().what;
      before = after;
    }
    sys::nft::Transaction none("glovebox_t");
    write_change(none, before, before);
    EXPECT_TRUE(none.empty());
  }
}

}  // namespace
}  // namespace glovebox::engine

#include "sys/nft.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

namespace glovebox::sys::nft {
namespace {

// In a network of our own: nothing here touches the machine's.
class NftTest : public testing::Test {
 protected:
  void SetUp() override {
    home_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (::unshare(CLONE_NEWNET) < 0) GTEST_SKIP() << "namespaces can be made by root only";
    if (!tables(Family::inet)) GTEST_SKIP() << "no nftables in this kernel";
  }
  void TearDown() override {
    if (::geteuid() == 0) EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);
  }
  Fd home_;
};

const std::string kLink = link_key("gbx1");

TEST_F(NftTest, ATableIsMadeReplacedAndDeleted) {
  for (int round = 0; round < 2; ++round) {
    Transaction make("glovebox_t");
    make.replace_table();
    make.base_chain("forward", {kForward, 0, "filter"});
    make.rule("forward", [](Rule& rule) { rule.link(Way::in, "gbx").drop(); });
    auto made = make.commit();
    ASSERT_TRUE(made) << made.error().what;
  }
  EXPECT_EQ(*tables(Family::inet), std::set<std::string>{"glovebox_t"});
  EXPECT_TRUE(tables(Family::ip)->empty());
  Transaction gone("glovebox_t");
  gone.delete_table();
  EXPECT_TRUE(gone.commit());
  EXPECT_TRUE(tables(Family::inet)->empty());
  Transaction twice("glovebox_t");
  twice.delete_table();
  EXPECT_FALSE(twice.commit());
}

TEST_F(NftTest, ATransactionIsDoneWholeOrNotAtAll) {
  Transaction change("glovebox_t");
  change.make_table();
  change.chain("one");
  change.rule("no_such_chain", [](Rule& rule) { rule.drop(); });
  change.chain("two");
  auto done = change.commit();
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().what.find("no_such_chain"), std::string::npos) << done.error().what;
  EXPECT_TRUE(tables(Family::inet)->empty());
}

TEST_F(NftTest, ElementsComeAndGo) {
  Transaction make("glovebox_t");
  make.make_table();
  make.set("links", {.keys = {Key::link}});
  make.set("own", {.keys = {Key::link, Key::ip4}});
  make.set("allow", {.keys = {Key::link, Key::ip6}, .ranges = true});
  make.set("special", {.keys = {Key::ip4}, .ranges = true});
  make.set("pace", {.keys = {Key::link}, .rates = true});
  make.fill("special", {{std::string("\0\0\0\0", 4), std::string("\0\xff\xff\xff", 4)},
                        {"\xe0\1\1\1", "\xff\xff\xff\xff"}});
  auto made = make.commit();
  ASSERT_TRUE(made) << made.error().what;

  std::vector<Element> many;
  for (int i = 0; i < 1200; ++i) {  // more than one message holds
    std::string address(16, '\x20');
    address[1] = static_cast<char>(i >> 8);
    address[2] = static_cast<char>(i & 0xff);
    std::string last = address;
    last[15] = '\x7f';
    many.push_back({kLink + address, kLink + last});
  }
  Transaction add("glovebox_t");
  add.add("links", {{kLink}});
  add.add("own", {{kLink + "\1\2\3\4"}});
  add.add("allow", many);
  auto added = add.commit();
  ASSERT_TRUE(added) << added.error().what;

  Transaction overlap("glovebox_t");
  overlap.add("allow", {{many[5].first, many[6].last}});
  EXPECT_FALSE(overlap.commit());

  Transaction remove("glovebox_t");
  remove.remove("links", {{kLink}});
  remove.remove("own", {{kLink + "\1\2\3\4"}});
  remove.remove("allow", many);
  auto removed = remove.commit();
  ASSERT_TRUE(removed) << removed.error().what;
  Transaction again("glovebox_t");
  again.remove("links", {{kLink}});
  EXPECT_FALSE(again.commit());
}

TEST_F(NftTest, EveryKindOfRuleIsTaken) {
  Transaction make("glovebox_t");
  make.make_table();
  make.set("links", {.keys = {Key::link}});
  make.set("own4", {.keys = {Key::link, Key::ip4}});
  make.set("own6", {.keys = {Key::link, Key::ip6}, .ranges = true});
  make.set("special6", {.keys = {Key::ip6}, .ranges = true});
  make.set("pace", {.keys = {Key::link}, .rates = true});
  make.chain("side");
  make.base_chain("forward", {kForward, -5, "filter"});
  make.base_chain("leave", {kPostrouting, 100, "nat"});
  auto rule = [&](auto build) { make.rule("forward", build); };
  rule([](Rule& r) { r.not_link(Way::out, "gbx").link(Way::in, "gbx").accept(); });
  rule([](Rule& r) { r.in_set(Way::in, "links").jump("side"); });
  rule([](Rule& r) { r.in_set(Way::in, Family::ip, Side::source, "own4").accept(); });
  rule([](Rule& r) { r.in_set(Way::out, Family::ip6, Side::target, "own6").accept(); });
  rule([](Rule& r) { r.in_set(Family::ip6, Side::source, "special6").drop(); });
  rule([](Rule& r) { r.state(kEstablished | kRelated).answers().accept(); });
  rule([](Rule& r) { r.state(kNew).over_rate("pace", 10, 5).drop(); });
  rule([](Rule& r) { r.over_rate(100, 10).drop(); });
  rule([](Rule& r) { r.reset(); });
  rule([](Rule& r) { r.prohibited(); });
  make.rule("leave", [](Rule& r) { r.link(Way::in, "gbx").masquerade(); });
  auto made = make.commit();
  EXPECT_TRUE(made) << made.error().what;
}

TEST(LinkKey, IsWhatTheKernelCompares) {
  EXPECT_EQ(link_key("eth0"), std::string("eth0") + std::string(12, '\0'));
  EXPECT_EQ(link_key("gbx0123456789ab").size(), 16u);
}

}  // namespace
}  // namespace glovebox::sys::nft

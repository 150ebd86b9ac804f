#include "sys/link.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>

#include "sys/inside.h"
#include "sys/process.h"

namespace glovebox::sys {
namespace {

// Two networks of our own, one of them the calling thread's: nothing here touches the machine's.
class LinkTest : public testing::Test {
 protected:
  void SetUp() override {
    home_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (::unshare(CLONE_NEWNET) < 0) GTEST_SKIP() << "namespaces can be made by root only";
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Fd told(ends[0]), tell(ends[1]);
    pid_t child = ::fork();
    if (child == 0) {
      char done = ::unshare(CLONE_NEWNET) == 0 ? 'y' : 'n';
      if (::write(tell.get(), &done, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    box_process_.emplace(*Process::adopt(child));
    char done = 'n';
    ASSERT_EQ(::read(told.get(), &done, 1), 1);
    auto opened = open_process(child);
    ASSERT_TRUE(opened) << opened.error().what;
    auto socket = socket_inside(opened->get(), AF_NETLINK, SOCK_RAW);
    ASSERT_TRUE(socket) << socket.error().what;
    auto ours = is_of_this_network(socket->get());
    ASSERT_TRUE(ours) << ours.error().what;
    EXPECT_FALSE(*ours);
    box_.emplace(std::move(*socket));
    auto host = Netlink::open(NETLINK_ROUTE);
    ASSERT_TRUE(host) << host.error().what;
    host_.emplace(std::move(*host));
  }
  static LinkPlan plan(std::uint8_t n) {
    LinkPlan plan{str("gbxtest", n),
                  {100, 64, 0, static_cast<std::uint8_t>(2 * n)},
                  {100, 64, 0, static_cast<std::uint8_t>(2 * n + 1)},
                  LinkPlan::Six{},
                  {2, 9, 9, 9, 9, n}};
    plan.six->host = plan.six->box = {0xfd, 0x67};
    plan.six->host[15] = static_cast<std::uint8_t>(2 * n);
    plan.six->box[15] = static_cast<std::uint8_t>(2 * n + 1);
    return plan;
  }
  void TearDown() override {
    if (::geteuid() == 0) EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);
  }
  Fd home_;
  std::optional<Process> box_process_;
  std::optional<Netlink> box_, host_;
};

TEST_F(LinkTest, BothEndsAreThereAndUp) {
  auto made = make_link(*host_, *box_, plan(1));
  ASSERT_TRUE(made) << made.error().what;
  auto outside = list_links(*host_, "gbx");
  ASSERT_TRUE(outside);
  ASSERT_EQ(outside->size(), 1u);
  EXPECT_EQ((*outside)[0].name, "gbxtest1");
  EXPECT_TRUE((*outside)[0].up);
  auto inside = list_links(*box_, "eth");
  ASSERT_TRUE(inside);
  ASSERT_EQ(inside->size(), 1u);
  EXPECT_TRUE((*inside)[0].up);
}

TEST_F(LinkTest, ASecondOneOfTheSameNameIsRefusedAndTheFirstStays) {
  ASSERT_TRUE(make_link(*host_, *box_, plan(1)));
  auto again = make_link(*host_, *box_, plan(1));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().tag, "EEXIST");
  EXPECT_EQ(list_links(*host_, "gbx")->size(), 1u);
}

TEST_F(LinkTest, AHalfMadeOneIsTakenAway) {
  // The box's end cannot have an address that is none.
  LinkPlan bad = plan(1);
  bad.box4 = {255, 255, 255, 255};
  bad.six->box = {0xff, 0x02};  // multicast
  EXPECT_FALSE(make_link(*host_, *box_, bad));
  EXPECT_TRUE(list_links(*host_, "gbx")->empty());
  EXPECT_TRUE(list_links(*box_, "eth")->empty());
}

TEST_F(LinkTest, DeletingTakesThoseThatAreThereAndMindsNoneThatAreNot) {
  ASSERT_TRUE(make_link(*host_, *box_, plan(1)));
  auto deleted = delete_links(*host_, {"gbxtest7", "gbxtest1", "gbxtest8"});
  EXPECT_TRUE(deleted) << deleted.error().what;
  EXPECT_TRUE(list_links(*host_, "gbx")->empty());
  EXPECT_TRUE(delete_links(*host_, {"gbxtest1"}));
  EXPECT_TRUE(delete_links(*host_, {}));
}

TEST_F(LinkTest, RoutesOfOthersIntoOurRangeAreSeen) {
  EXPECT_EQ(*route_within(*host_, {100, 64, 0, 0}, 16, "none"), "");
  ASSERT_TRUE(make_link(*host_, *box_, plan(1)));
  EXPECT_EQ(*route_within(*host_, {100, 64, 0, 0}, 16, "gbx"), "");
  EXPECT_EQ(*route_within(*host_, {100, 64, 0, 0}, 16, "none"), "100.64.0.2/31");
}

TEST(Attributes, StopAtWhatIsNone) {
  int seen = 0;
  auto count = [&](std::uint16_t, std::string_view) { ++seen; };
  each_attribute(std::string_view("\x05\0\1\0x\0\0\0\xff\xff\2\0", 12), count);
  EXPECT_EQ(seen, 1);
  each_attribute(std::string_view("\3\0\1\0", 4), count);
  each_attribute(std::string_view("\4\0", 2), count);
  EXPECT_EQ(seen, 1);
}

}  // namespace
}  // namespace glovebox::sys

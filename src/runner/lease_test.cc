#include "runner/lease.h"

#include "runner/test_loop.h"

namespace glovebox::runner {
namespace {

using Fault = FakeService::Fault;
using End = Lease::End;

class LeaseTest : public ServiceTest {
 public:
  LeaseTest() {
    auto once = fake.options();
    once.retries = 0;
    service = std::make_unique<Service>(loop, once);
    fake.queue("work_1", "sesn_1").state = "starting";
  }

  std::unique_ptr<Service> service;
  LeaseOptions options{.first_interval = 100ms, .shortest_interval = 1ms, .first_retry = 1ms};
  LeaseStart start;
  std::unique_ptr<Lease> lease;
  Millis stalled{};
  int told = 0;

  void make() {
    lease = std::make_unique<Lease>(*service, "env_1", "work_1", key(), options, start);
    lease->stalled_for = [this] { return stalled; };
    lease->on_beat = [this](const LeaseStart&) { ++told; };
  }
  Task<void> beating(net::TaskGroup& group, Task<void> test) {
    make();
    group.spawn("lease", lease->run());
    auto tested = co_await std::move(test);
    CO_TRY_DO(co_await group.finish(5s));
    co_return tested;
  }
  void with_lease(Task<void> test) {
    net::TaskGroup group(loop);
    run(beating(group, std::move(test)));
  }
  Task<void> beats(int n) {
    return until([this, n] { return fake.item().beats >= n; }, "heartbeats");
  }
  Task<void> ends(End how) {
    CO_TRY_DO(co_await until([this] { return lease->end() != End::none; }, "the end"));
    EXPECT_EQ(lease->end(), how) << name(lease->end());
    EXPECT_FALSE(lease->why().empty());
    co_return ok;
  }
  Task<void> goes_on() {
    CO_TRY_DO(co_await until([this] { return told >= 3; }, "accepted heartbeats"));
    EXPECT_TRUE(lease->held());
    EXPECT_EQ(lease->ttl(), 300s);
    co_return ok;
  }
  Task<void> stops_later() {
    CO_TRY_DO(co_await beats(2));
    fake.item().state = "stopping";
    co_return co_await ends(End::stopping);
  }
  Task<void> stolen() {
    CO_TRY_DO(co_await beats(2));
    fake.item().last = "somebody else's";
    co_return co_await ends(End::lost);
  }
  Task<void> unheard() {
    CO_TRY_DO(co_await beats(2));
    fake.fail("heartbeat", {Fault{500, true}});
    auto before = fake.item().beats;
    told = 0;
    CO_TRY_DO(co_await beats(before + 4));
    co_return co_await goes_on();
  }
  Task<void> unheard_then_stolen() {
    CO_TRY_DO(co_await beats(2));
    fake.fail("heartbeat", {Fault{500, true}});
    CO_TRY_DO(co_await until([this] { return fake.count("heartbeat") >= 5; }));
    fake.item().last = "somebody else's";
    co_return co_await ends(End::lost);
  }
  Task<void> stalls() {
    CO_TRY_DO(co_await goes_on());
    stalled = 10s;
    co_return co_await ends(End::stalled);
  }
};

TEST_F(LeaseTest, BeatsByItself) { with_lease(goes_on()); }
TEST_F(LeaseTest, TheServiceMayAskForTheEnd) { with_lease(stops_later()); }
TEST_F(LeaseTest, AnItemThatIsStoppedAlreadyEndsAtOnce) {
  fake.item().state = "stopped";
  with_lease(ends(End::stopping));
}
TEST_F(LeaseTest, NotExtendedIsTheEnd) {
  fake.fail(
      "heartbeat",
      {Fault{200, false,
             R"({"last_heartbeat":"x","lease_extended":false,"state":"active","ttl_seconds":9})"}});
  with_lease(ends(End::stopping));
}
TEST_F(LeaseTest, AForeignHeartbeatMeansLost) { with_lease(stolen()); }
TEST_F(LeaseTest, AClaimedItemCannotBeClaimed) {
  fake.item().last = "somebody else's";
  fake.item().state = "active";
  with_lease(ends(End::lost));
}
TEST_F(LeaseTest, OtherRefusalsReject) {
  fake.fail("heartbeat", {Fault{404}});
  with_lease(ends(End::rejected));
}
TEST_F(LeaseTest, PassingTroubleIsRiddenOut) {
  fake.fail("heartbeat", {Fault{500}, Fault{503}, Fault{429}, Fault{409}});
  with_lease(goes_on());
}
TEST_F(LeaseTest, ABeatThatCountedUnheardIsOurs) { with_lease(unheard()); }
TEST_F(LeaseTest, AClaimThatCountedUnheardIsOurs) {
  fake.fail("heartbeat", {Fault{500, true}});
  with_lease(goes_on());
}
TEST_F(LeaseTest, AnOldClaimThatCountedUnheardMayBeSomebodyElses) {
  options.claim_window = 0ms;
  fake.fail("heartbeat", {Fault{500, true}});
  with_lease(ends(End::lost));
}
TEST_F(LeaseTest, DoubtIsNoLicenceToSteal) { with_lease(unheard_then_stolen()); }
TEST_F(LeaseTest, SilenceForAWholeTtlIsAssumedLost) {
  options.assumed_ttl = 10ms;
  fake.hold("heartbeat");
  with_lease(ends(End::assumed_lost));
}
TEST_F(LeaseTest, IsLetGoWhenNothingMoves) {
  options.stall_limit = 5s;
  with_lease(stalls());
}
TEST_F(LeaseTest, AnInheritedLeaseGoesOnFromItsLastBeat) {
  fake.item().state = "active";
  fake.item().last = start.last_heartbeat = "beat-old";
  with_lease(goes_on());
}
TEST_F(LeaseTest, AnInheritedLeaseMayBeABeatBehind) {
  fake.item().state = "active";
  fake.item().last = "beat-newer";
  start = {"beat-old", true, 1s, 300s};
  with_lease(goes_on());
}
TEST_F(LeaseTest, AnInheritedClaimMayHaveABeatNobodyNoted) {
  fake.item().state = "active";
  fake.item().last = "beat-first";
  start = {"NO_HEARTBEAT", true, 1s, 0s};
  with_lease(goes_on());
}
TEST_F(LeaseTest, AnInheritedLeaseThatRanOutIsNotTakenBack) {
  fake.item().state = "active";
  fake.item().last = "somebody else's";
  start = {"beat-old", true, 301s, 300s};
  with_lease(ends(End::lost));
}

}  // namespace
}  // namespace glovebox::runner

// What becomes of boxes and volumes that sessions have left.
#include "orchestrator/environment_lock.h"
#include "orchestrator/orchestrator_fixture.h"

namespace glovebox::orchestrator {
namespace {

constexpr Millis kAnHour = std::chrono::hours(1);

class LeftoversTest : public OrchestratorTest {
 public:
  LeftoversTest() { options.pace.clean = 5ms; }

  void with(Task<void> (LeftoversTest::*test)()) {
    with_orchestrator([this, test] { return (this->*test)(); });
  }
  // A session that has been, with its box.
  Task<void> past(int i) {
    want(i);
    return stopped(i);
  }
  std::string box(int i) const {
    for (const auto& [id, box] : engine.boxes)
      if (box.name == box_name(str("sesn_", i))) return id;
    return "";
  }
  bool alive(int i) { return engine.boxes[box(i)].status == "running"; }
  Task<void> gone(int i) {
    return until([this, i] { return !alive(i); }, str("the end of box ", i));
  }
  // Two looks have begun after this.
  Task<void> looked() {
    for (int i = 0; i < 2; ++i) {
      const auto before = service.count("session");
      CO_TRY_DO(co_await until([&] { return service.count("session") > before; }, "another look"));
    }
    co_return ok;
  }

  Task<void> ended_sessions() {
    for (int i : {1, 2, 3, 4}) CO_TRY_DO(co_await past(i));
    CO_TRY_DO(co_await looked());
    for (int i : {1, 2, 3, 4}) EXPECT_TRUE(alive(i)) << i;
    service.session("sesn_1").status = "terminated";
    service.session("sesn_2").archived_at = R"("2026-11-20T10:00:00Z")";
    service.forget("sesn_3");
    for (int i : {1, 2, 3}) CO_TRY_DO(co_await gone(i));
    EXPECT_TRUE(alive(4));
    // What people were to have of them stays.
    EXPECT_TRUE(engine.volumes.contains("outputs-sesn_3"));
    for (const std::string& line : engine.seen) EXPECT_NE(line, "GET /sandboxes");  // never a list
    co_return ok;
  }
  Task<void> unreadable() {
    CO_TRY_DO(co_await past(1));
    for (int status : {500, 401, 403})
      service.fail("session", std::vector<FakeService::Fault>(6, {.status = status}));
    const auto before = service.count("session");
    CO_TRY_DO(co_await until([&] { return service.count("session") > before + 20; }));
    EXPECT_TRUE(alive(1));
    co_return ok;
  }
  Task<void> by_number() {
    for (int i : {1, 2, 3, 4}) CO_TRY_DO(co_await past(i));
    for (int i : {1, 2}) CO_TRY_DO(co_await gone(i));
    CO_TRY_DO(co_await looked());
    EXPECT_TRUE(alive(3) && alive(4));
    co_return ok;
  }
  Task<void> by_age() {
    CO_TRY_DO(co_await past(1));
    co_return co_await gone(1);
  }
  // Somebody looks around in a session's box, without us.
  Task<void> used_by_hand() {
    CO_TRY_DO(co_await past(1));
    engine.boxes[box(1)].last_activity = system_clock().unix_ms() + kAnHour.count();
    const std::string look = "GET /sandboxes/" + box_name("sesn_1");
    const auto before = engine.count(look);
    CO_TRY_DO(co_await until([&] { return engine.count(look) > before; }));
    CO_TRY_DO(co_await looked());
    EXPECT_TRUE(alive(1));
    co_return ok;
  }
  Task<void> held() {
    CO_TRY_DO(co_await until([this] { return engine.calls.size() == 1; }));
    service.session("sesn_1").status = "terminated";
    for (int i = 0; i < 20; ++i) CO_TRY_DO(co_await net::sleep(options.pace.clean));
    EXPECT_TRUE(alive(1));
    engine.blocked = false;
    engine.changed.notify();
    CO_TRY_DO(co_await stopped(1));
    co_return co_await gone(1);
  }
  Task<void> volumes_too() {
    CO_TRY_DO(co_await past(1));
    engine.volumes_in_use.insert("outputs-sesn_1");
    CO_TRY_DO(co_await gone(1));
    CO_TRY_DO(co_await until([&] { return engine.count("DELETE /volumes/outputs-sesn_1") > 1; }));
    EXPECT_TRUE(engine.volumes.contains("outputs-sesn_1"));
    engine.volumes_in_use.clear();
    co_return co_await until([&] { return engine.volumes.empty(); }, "the end of its outputs");
  }
  Task<void> engine_away() {
    CO_TRY_DO(co_await past(1));
    service.session("sesn_1").status = "terminated";
    for (int i = 0; i < 3; ++i)
      engine.answers.push_back(http::json(503, R"({"error":"away","code":"UNAVAILABLE"})"));
    co_return co_await gone(1);
  }
  // Session 2 comes back and ends while the box of session 1 goes, which was as old.
  void both_old() {
    auto journal = Journal::open(state + "/journal.db");
    ASSERT_TRUE(journal);
    for (int i : {1, 2}) {
      const std::string session = str("sesn_", i);
      service.session(session);
      engine.add(box_name(session), "suspended");
      ASSERT_TRUE(journal->used("env_1", session, box_name(session), i));
    }
    auto shared = std::make_shared<Journal>(std::move(*journal));
    engine.on_request = [this, shared](const std::string& line) {
      if (line == "DELETE /sandboxes/" + box(1))
        ASSERT_TRUE(shared->used_until("sesn_2", system_clock().unix_ms()));
    };
  }
  Task<void> came_back() {
    CO_TRY_DO(co_await until([this] { return engine.boxes[box(1)].status == "terminated"; }));
    CO_TRY_DO(co_await looked());
    EXPECT_EQ(engine.boxes[box(2)].status, "suspended");
    co_return ok;
  }
  // Nobody can work in it, but it is there.
  Task<void> not_filled() {
    CO_TRY_DO(co_await stopped(1));
    EXPECT_TRUE(alive(1));
    service.session("sesn_1").status = "terminated";
    co_return co_await gone(1);
  }
  Task<void> first_life() { return past(1); }
  Task<void> second_life() {
    service.session("sesn_1").status = "terminated";
    co_return co_await gone(1);
  }
};

TEST_F(LeftoversTest, BoxesOfSessionsThatAreOverGo) { with(&LeftoversTest::ended_sessions); }
TEST_F(LeftoversTest, ASessionThatCannotBeReadIsNotOver) { with(&LeftoversTest::unreadable); }
TEST_F(LeftoversTest, OfTooManyTheLongestUnusedGo) {
  options.keep.boxes = 2;
  with(&LeftoversTest::by_number);
}
TEST_F(LeftoversTest, OldOnesGo) {
  options.keep.boxes_for = 20ms;
  with(&LeftoversTest::by_age);
}
TEST_F(LeftoversTest, OneThatIsUsedWithoutUsIsNotOld) {
  options.keep.boxes_for = 20ms;
  with(&LeftoversTest::used_by_hand);
}
TEST_F(LeftoversTest, ASessionThatIsHeldKeepsItsBox) {
  engine.blocked = true;
  want(1);
  with(&LeftoversTest::held);
}
TEST_F(LeftoversTest, VolumesGoByAgeWhereTheOperatorSaysSoAndNotWhileABoxHasThem) {
  options.keep.boxes_for = options.keep.volumes_for = 20ms;
  with(&LeftoversTest::volumes_too);
}
TEST_F(LeftoversTest, ASessionThatCameBackMeanwhileKeepsItsBox) {
  options.keep.boxes_for = kAnHour;
  both_old();
  with(&LeftoversTest::came_back);
}
TEST_F(LeftoversTest, ABoxThatCouldNotBeFilledGoesWithItsSession) {
  options.ceiling.directories = {"seeds=/nowhere"};
  service.session("sesn_1").metadata = R"({"glovebox.files":"dir:seeds"})";
  want(1);
  with(&LeftoversTest::not_filled);
}
TEST_F(LeftoversTest, AnEngineThatIsAwayIsAskedAgain) { with(&LeftoversTest::engine_away); }

// ---- the pool

class PoolSizeTest : public OrchestratorTest {
 public:
  PoolSizeTest() {
    options.pace.pool = 2ms;
    options.pool = {.least = 1, .most = 3};
  }
  void with(Task<void> (PoolSizeTest::*test)()) {
    with_orchestrator([this, test] { return (this->*test)(); });
  }
  Task<void> size(std::int64_t wanted) {
    return until(
        [this, wanted] {
          return engine.pools.size() == 1 && engine.pools.begin()->second == wanted;
        },
        str("a pool of ", wanted));
  }
  Task<void> follows() {
    CO_TRY_DO(co_await size(1));
    service.depth = 2;
    CO_TRY_DO(co_await size(2));
    service.depth = 50;
    CO_TRY_DO(co_await size(3));
    want(1);
    CO_TRY_DO(co_await stopped(1));
    EXPECT_EQ(engine.boxes.begin()->second.pool, "pool1");
    EXPECT_EQ(engine.boxes.begin()->second.name, box_name("sesn_1"));
    // Another image is another box.
    service.session("sesn_2").metadata = R"({"session.image":"tools:1"})";
    want(2);
    CO_TRY_DO(co_await stopped(2));
    for (const auto& [id, box] : engine.boxes)
      if (box.name == box_name("sesn_2")) EXPECT_EQ(box.pool, "");
    co_return ok;
  }
  Task<void> refused() {
    CO_TRY_DO(co_await size(1));
    want(1);
    CO_TRY_DO(co_await stopped(1));
    EXPECT_EQ(engine.boxes.size(), 1u);
    EXPECT_EQ(engine.boxes.begin()->second.pool, "");
    co_return ok;
  }
  Task<void> went() {
    CO_TRY_DO(co_await size(1));
    engine.pools.clear();
    service.depth = 2;
    CO_TRY_DO(co_await size(2));
    EXPECT_EQ(engine.made_with, (std::vector<std::int64_t>{0, 0}));
    co_return ok;
  }
  Task<void> there() { return size(1); }
  Task<void> only_elsewhere() {
    return until([this] { return engine.pools.size() == 1 && engine.pools.contains("elsewhere"); },
                 "the end of the other");
  }
  Task<void> none() {
    return until([this] { return engine.pools.empty(); }, "the end of the pool");
  }
};

TEST_F(PoolSizeTest, FollowsTheQueueBetweenItsLimitsAndSessionsTakeFromIt) {
  options.ceiling.images = {"tools:1"};
  with(&PoolSizeTest::follows);
}
TEST_F(PoolSizeTest, OneThatWentIsMadeAnewWithNothingInItUntilItIsNoted) {
  with(&PoolSizeTest::went);
}
TEST_F(PoolSizeTest, ThoseOfEnvironmentsServedBeforeAreRemovedAndNoOthers) {
  engine.pools = {{"before", 3}, {"elsewhere", 3}};
  auto journal = Journal::open(state + "/journal.db");
  ASSERT_TRUE(journal && journal->set_pool("env_0", "before") &&
              journal->set_pool("env_9", "elsewhere"));
  auto served = EnvironmentLock::take(state, "env_9");
  ASSERT_TRUE(served);
  options.pool = {};
  with(&PoolSizeTest::only_elsewhere);
}
TEST_F(PoolSizeTest, WhereNothingCanBeClaimedABoxIsMade) {
  engine.no_claims = true;
  with(&PoolSizeTest::refused);
}

}  // namespace
}  // namespace glovebox::orchestrator

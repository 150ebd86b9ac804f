#include "runner/item.h"

#include "runner/test_loop.h"

namespace glovebox::runner {
namespace {

using Fault = FakeService::Fault;
using How = ItemEnd::How;

class ItemTest : public ServiceTest {
 public:
  Service service{loop, fake.options()};
  std::shared_ptr<FakeHands> hands = std::make_shared<FakeHands>();
  ItemOptions options{.session = {.max_idle = 5ms, .first_reconnect = 1ms},
                      .lease = {.first_interval = 5ms, .shortest_interval = 1ms}};
  Bearer environment_key = key("the-environment-key");
  std::string secret = base64url(R"({"sessions_token":"the-token"})");
  std::optional<Error> cannot_make;
  int made = 0;
  std::unique_ptr<Item> item;
  std::optional<Result<ItemEnd>> end;

  Task<std::shared_ptr<Hands>> make(Session session) {
    ++made;
    EXPECT_EQ(session.id, "sesn_1");
    EXPECT_NE(session.json.find("\"agent\""), std::string::npos);
    if (cannot_make) co_return *cannot_make;
    co_return std::shared_ptr<Hands>(hands);
  }
  Task<void> serve() {
    CO_TRY(work, co_await service.poll({"env_1", "me", {}, {}}, environment_key));
    CO_TRY_DO(co_await service.ack("env_1", work->id, environment_key));
    fake.seen.clear();
    item = std::make_unique<Item>(
        loop, service, std::move(*work), environment_key,
        [this](Session session) { return make(std::move(session)); }, options);
    end = co_await item->run();
    co_return ok;
  }
  Task<void> both(Task<void> (ItemTest::*test)()) {
    net::TaskGroup group(loop);
    group.spawn("item", serve());
    auto tested = co_await (this->*test)();
    CO_TRY_DO(co_await group.finish(5s));
    co_return tested;
  }
  void with_item(Task<void> (ItemTest::*test)()) {
    if (!fake.has_item("work_1")) fake.queue("work_1", "sesn_1", secret);
    run(both(test));
  }
  Task<void> ended() {
    return until([this] { return end.has_value(); }, "the item's end");
  }
  void expect_end(How how, int forced_stops, int closed) {
    ASSERT_TRUE(end && *end);
    EXPECT_EQ((*end)->how, how) << name((*end)->how) << ": " << (*end)->why;
    EXPECT_EQ(fake.item().forced, forced_stops);
    EXPECT_EQ(hands->closed, closed);
  }

  Task<void> to_the_end() {
    CO_TRY_DO(co_await ended());
    expect_end(How::done, 1, 1);
    EXPECT_EQ(fake.posted.size(), 1u);
    for (const auto& one : fake.seen) EXPECT_EQ(one.bearer, "Bearer the-token") << one.target;
    EXPECT_TRUE((*end)->stopped);
    co_return ok;
  }
  Task<void> by_key() {
    CO_TRY_DO(co_await ended());
    expect_end(How::done, 1, 1);
    for (const auto& one : fake.seen)
      EXPECT_EQ(one.bearer, "Bearer the-environment-key") << one.target;
    co_return ok;
  }
  Task<void> nothing_to_run() {
    CO_TRY_DO(co_await ended());
    expect_end(How::done, 1, 0);
    EXPECT_EQ(made, 0);
    EXPECT_EQ(fake.count("stream"), 0u);
    EXPECT_EQ(fake.posted.size(), 0u);
    co_return ok;
  }
  Task<void> health() {
    CO_TRY_DO(co_await ended());
    expect_end(How::done, 1, 0);
    EXPECT_GE(fake.item().beats, 1);
    EXPECT_EQ(fake.count("session"), 0u);
    co_return ok;
  }
  Task<void> lost() {
    CO_TRY_DO(co_await until([this] { return hands->running == 1; }));
    fake.item().last = "somebody else's";
    CO_TRY_DO(co_await ended());
    expect_end(How::released, 0, 1);
    EXPECT_EQ(fake.item().stops, 0);
    EXPECT_EQ(hands->cancelled, 1);
    EXPECT_TRUE(fake.posted.empty());
    co_return ok;
  }
  Task<void> stopped_by_force() {
    CO_TRY_DO(co_await until([this] { return hands->running == 1; }));
    fake.item().state = "stopped";
    CO_TRY_DO(co_await ended());
    expect_end(How::released, 1, 1);
    EXPECT_EQ(hands->cancelled, 1);
    EXPECT_TRUE(fake.posted.empty());
    co_return ok;
  }
  Task<void> told_to_stop() {
    CO_TRY_DO(co_await until([this] { return hands->running == 1; }));
    fake.item().state = "stopping";
    const auto beats = fake.item().beats;
    CO_TRY_DO(co_await until([this, beats] { return fake.item().beats >= beats + 3; }));
    EXPECT_EQ(hands->running, 1);
    hands->let_go();
    CO_TRY_DO(co_await ended());
    expect_end(How::released, 1, 1);
    EXPECT_EQ(hands->cancelled, 0);
    EXPECT_EQ(fake.posted.size(), 1u);
    EXPECT_EQ((*end)->open_calls, 1u);  // the second was not begun
    EXPECT_TRUE((*end)->stopped);
    co_return ok;
  }
  Task<void> too_slow_to_stop() {
    CO_TRY_DO(co_await until([this] { return hands->running == 1; }));
    fake.item().state = "stopping";
    CO_TRY_DO(co_await ended());
    expect_end(How::released, 1, 1);
    EXPECT_EQ(hands->cancelled, 1);
    EXPECT_TRUE(fake.posted.empty());
    co_return ok;
  }
  Task<void> no_credential() {
    CO_TRY_DO(co_await ended());
    EXPECT_TRUE(end && !*end);
    EXPECT_TRUE(fake.seen.empty());
    co_return ok;
  }
  Task<void> not_opened() {
    CO_TRY_DO(co_await ended());
    expect_end(How::failed, 1, 1);
    EXPECT_NE((*end)->why.find("no box"), std::string::npos);
    co_return ok;
  }
  Task<void> left_unopened() {
    CO_TRY_DO(co_await ended());
    expect_end(How::failed, 0, 1);
    EXPECT_FALSE((*end)->ours);
    co_return ok;
  }
  Task<void> no_hands() {
    CO_TRY_DO(co_await ended());
    expect_end(How::failed, 1, 0);
    EXPECT_NE((*end)->why.find("no box"), std::string::npos);
    co_return ok;
  }
  Task<void> no_session() {
    CO_TRY_DO(co_await ended());
    expect_end(How::failed, 1, 0);
    co_return ok;
  }
  Task<void> waits_for_the_lease() {
    CO_TRY_DO(co_await until([this] { return made == 1; }));
    EXPECT_EQ(fake.count("stream"), 0u);
    fake.release("heartbeat");
    CO_TRY_DO(co_await ended());
    expect_end(How::done, 1, 1);
    EXPECT_EQ(fake.posted.size(), 1u);
    co_return ok;
  }
  Task<void> asked_when_idle() {
    CO_TRY_DO(
        co_await until([this] { return fake.count("events") == 1 && fake.posted.size() == 1; }));
    item->stop();
    CO_TRY_DO(co_await ended());
    expect_end(How::asked, 1, 1);
    EXPECT_EQ((*end)->open_calls, 0u);
    co_return ok;
  }
  Task<void> asked_with_a_held_call() {
    // The answer to another call tells that the history was read.
    CO_TRY_DO(co_await until([this] { return fake.posted.size() == 1; }));
    CO_TRY_DO(co_await until([this] { return hands->running == 0; }));
    item->stop();
    CO_TRY_DO(co_await ended());
    EXPECT_EQ((*end)->open_calls, 1u);
    co_return ok;
  }
  Task<void> asked_and_stopped() {
    CO_TRY_DO(co_await asked_with_a_held_call());
    expect_end(How::asked, 1, 1);
    co_return ok;
  }
  Task<void> asked_and_left() {
    CO_TRY_DO(co_await asked_with_a_held_call());
    expect_end(How::asked, 0, 1);
    EXPECT_TRUE((*end)->ours);
    EXPECT_EQ(fake.item().stops, 0);
    co_return ok;
  }
  Task<void> asked_early() {
    CO_TRY_DO(co_await until([this] { return fake.count("session") == 1; }));
    item->stop();
    CO_TRY_DO(co_await ended());
    expect_end(How::asked, 0, 0);
    EXPECT_EQ((*end)->open_calls, 1u);  // nobody has looked
    co_return ok;
  }
};

TEST_F(ItemTest, RunsItsCallsAndStopsWithItsOwnToken) {
  fake.say(tool_use("a"));
  fake.on_post = [this](const std::string&) { fake.say(idle("end_turn")); };
  with_item(&ItemTest::to_the_end);
  EXPECT_EQ(hands->end, Hands::End::clean);
}
TEST_F(ItemTest, WithoutATokenTheEnvironmentsKeyStandsIn) {
  secret = "not-a-secret!";
  fake.say(idle("end_turn"));
  with_item(&ItemTest::by_key);
}
TEST_F(ItemTest, ATerminatedSessionIsOnlyStopped) {
  fake.session().status = "terminated";
  fake.say(tool_use("a"));
  with_item(&ItemTest::nothing_to_run);
}
TEST_F(ItemTest, AHealthcheckIsBeatenAndStopped) {
  fake.queue("work_1", "sesn_1").json =
      R"({"id":"work_1","environment_id":"env_1","data":{"type":"healthcheck","id":"h"}})";
  with_item(&ItemTest::health);
}
TEST_F(ItemTest, ALostItemIsLeftAlone) {
  hands->blocked = true;
  fake.say(tool_use("a"));
  with_item(&ItemTest::lost);
  EXPECT_EQ(hands->end, Hands::End::lost);
}
TEST_F(ItemTest, AnItemStoppedByForceEndsAtOnce) {
  hands->blocked = true;
  fake.say(tool_use("a"));
  with_item(&ItemTest::stopped_by_force);
}
TEST_F(ItemTest, AnItemToldToStopFinishesItsCall) {
  hands->blocked = true;
  fake.say(tool_use("a"));
  fake.say(tool_use("b"));
  with_item(&ItemTest::told_to_stop);
  EXPECT_EQ(hands->end, Hands::End::clean);
}
TEST_F(ItemTest, AnItemToldToStopHasNoLongerThanItsLease) {
  hands->blocked = true;
  fake.ttl_seconds = 1;
  fake.say(tool_use("a"));
  with_item(&ItemTest::too_slow_to_stop);
}
TEST_F(ItemTest, WithoutAnyCredentialNothingIsTried) {
  secret = "";
  fake.queue("work_1", "sesn_1");
  environment_key = key("");
  with_item(&ItemTest::no_credential);
}
TEST_F(ItemTest, WithoutHandsTheItemIsStoppedWithTheReason) {
  cannot_make = Error{Code::exhausted, "no box"};
  with_item(&ItemTest::no_hands);
}
TEST_F(ItemTest, HandsThatCannotBeOpenedAreClosedAllTheSame) {
  hands->cannot_open = Error{Code::exhausted, "no box"};
  with_item(&ItemTest::not_opened);
  EXPECT_EQ(hands->end, Hands::End::aborted);
}
TEST_F(ItemTest, TakenUpWithoutItsTokenItIsLeftToBeClaimedAnew) {
  secret = "";
  options.taken_up = true;
  options.stop_with_open_calls = false;
  hands->cannot_open = Error{Code::unauthenticated, "no token"};
  with_item(&ItemTest::left_unopened);
}
TEST_F(ItemTest, ASessionThatCannotBeReadIsStopped) {
  fake.fail("session", {Fault{403}});
  with_item(&ItemTest::no_session);
}
TEST_F(ItemTest, NoCallRunsBeforeTheLeaseIsOurs) {
  options.lease.first_interval = 10s;
  fake.hold("heartbeat");
  fake.say(tool_use("a"));
  fake.on_post = [this](const std::string&) { fake.say(idle("end_turn")); };
  with_item(&ItemTest::waits_for_the_lease);
}
TEST_F(ItemTest, AskedToLeaveAnIdleSessionItStopsTheItem) {
  options.session.max_idle = 0ms;
  fake.say(tool_use("a"));
  with_item(&ItemTest::asked_when_idle);
  EXPECT_EQ(hands->end, Hands::End::clean);
}
TEST_F(ItemTest, AskedToLeaveOpenCallsItStopsWhereTheQueueOffersThemAnew) {
  fake.say(tool_use("a", "bash", R"("evaluated_permission":"ask")"));
  fake.say(tool_use("b"));
  with_item(&ItemTest::asked_and_stopped);
}
TEST_F(ItemTest, AskedToLeaveOpenCallsItMayLeaveTheLease) {
  options.stop_with_open_calls = false;
  fake.say(tool_use("a", "bash", R"("evaluated_permission":"ask")"));
  fake.say(tool_use("b"));
  with_item(&ItemTest::asked_and_left);
}
TEST_F(ItemTest, AskedBeforeItHasLookedItAssumesOpenCalls) {
  options.stop_with_open_calls = false;
  fake.hold("session");
  with_item(&ItemTest::asked_early);
}

}  // namespace
}  // namespace glovebox::runner

// An orchestrator as a whole, between a service and an engine that are made for the test.
#include "orchestrator/orchestrator_fixture.h"

namespace glovebox::orchestrator {
namespace {

using Fault = FakeService::Fault;

class Orchestrated : public OrchestratorTest {
 public:
  void with_orchestrator(Task<void> (Orchestrated::*test)()) {
    OrchestratorTest::with_orchestrator([this, test] { return (this->*test)(); });
  }

  Task<void> one_session() {
    CO_TRY_DO(co_await stopped(1));
    EXPECT_EQ(orchestrator->status().environment_id, "env_1");
    EXPECT_EQ(item(1).acks, 1);
    EXPECT_EQ(item(1).forced, 1);
    EXPECT_EQ(service.posted.size(), 1u);
    EXPECT_EQ(engine.boxes.size(), 1u);
    EXPECT_EQ(engine.boxes.begin()->second.name, box_name("sesn_1"));
    EXPECT_EQ(engine.calls["call_1"].asked, 1);
    for (const auto& seen : service.seen) {
      const bool by_key = seen.verb == "poll" || seen.verb == "ack" || seen.verb == "credential";
      EXPECT_EQ(seen.bearer, by_key ? "Bearer the-environment-key" : "Bearer " + token)
          << seen.verb;
    }
    co_return ok;
  }

  Task<void> no_environment() {
    CO_TRY_DO(co_await until([this] { return ended.has_value(); }));
    EXPECT_FALSE(*ended);
    if (!*ended)
      EXPECT_NE(ended->error().what.find("set ANTHROPIC_ENVIRONMENT_ID"), std::string::npos);
    co_return ok;
  }

  Task<void> many() {
    CO_TRY_DO(co_await until([this] { return engine.calls.size() == 2; }));
    const auto polled = service.count("poll");
    CO_TRY_DO(co_await until([this] { return orchestrator->status().sessions == 2; }));
    for (int i = 0; i < 50; ++i) CO_TRY_DO(co_await net::yield());
    EXPECT_EQ(service.count("poll"), polled);  // there is no room for what it would bring
    EXPECT_EQ(service.count("ack"), 2u);
    engine.blocked = false;
    engine.changed.notify();
    for (int i = 0; i < 6; ++i) CO_TRY_DO(co_await stopped(i));
    EXPECT_EQ(service.posted.size(), 6u);
    EXPECT_EQ(engine.boxes.size(), 6u);
    for (const auto& [key, call] : engine.calls)
      EXPECT_EQ(engine.boxes[call.box].name, box_name("sesn_" + key.substr(5))) << key;
    co_return ok;
  }

  // A second item of a session that is held.
  Task<void> second_item() {
    CO_TRY_DO(co_await until([this] { return engine.calls.size() == 1; }));
    service.queue("work_again", "sesn_1", secret);
    orchestrator->hint();
    CO_TRY_DO(co_await until([this] { return service.item("work_again").handed_out; }));
    EXPECT_EQ(service.item("work_again").acks, 0);
    engine.blocked = false;
    engine.changed.notify();
    co_return co_await stopped(1);
  }
  Task<void> waits_its_turn() {
    CO_TRY_DO(co_await second_item());
    CO_TRY_DO(co_await until([this] { return service.item("work_again").state == "stopped"; }));
    std::vector<std::string> order;
    for (const auto& seen : service.seen)
      if (seen.verb == "ack" || seen.verb == "stop") order.push_back(seen.verb);
    EXPECT_EQ(order, (std::vector<std::string>{"ack", "stop", "ack", "stop"}));
    co_return ok;
  }
  Task<void> comes_again() {
    CO_TRY_DO(co_await second_item());
    EXPECT_EQ(service.item("work_again").acks, 0);
    service.item("work_again").handed_out = false;
    service.queue("work_2", "sesn_2", secret);
    CO_TRY_DO(co_await until([this] { return service.item("work_again").state == "stopped"; }));
    co_return ok;
  }

  Task<void> hinted() {
    CO_TRY_DO(co_await stopped(1));  // what is there at the start needs no hint
    CO_TRY(asked, co_await quiet());
    want(2);
    for (int i = 0; i < 50; ++i) CO_TRY_DO(co_await net::yield());
    EXPECT_EQ(service.count("poll"), asked);
    for (int i = 0; i < 10; ++i) orchestrator->hint();
    CO_TRY_DO(co_await stopped(2));
    CO_TRY(then, co_await quiet());
    // The item, an empty answer, and one more after the item's end.
    EXPECT_LE(then, asked + 3);
    for (const auto& seen : service.seen)
      if (seen.verb == "poll") EXPECT_EQ(seen.target.find("block_ms"), std::string::npos);
    co_return ok;
  }
  // Until nobody asks any more; how often they did.
  Task<std::size_t> quiet() {
    for (std::size_t before = 0;;) {
      CO_TRY_DO(co_await net::sleep(20ms));
      const std::size_t now = service.count("poll");
      if (now == before && orchestrator->status().sessions == 0) co_return now;
      before = now;
    }
  }
  Task<void> hint_while_asking() {
    CO_TRY_DO(co_await stopped(1));
    CO_TRY(asked, co_await quiet());
    service.hold("poll");
    orchestrator->hint();
    CO_TRY_DO(co_await until([&] { return service.count("poll") == asked + 1; }));
    orchestrator->hint();  // perhaps of what that look is too early for
    service.release("poll");
    CO_TRY_DO(co_await until([&] { return service.count("poll") == asked + 2; }));
    co_return ok;
  }
  Task<void> lost_hint() {
    CO_TRY_DO(co_await stopped(1));
    want(2);
    co_return co_await stopped(2);
  }
  Task<void> held_back() {
    CO_TRY_DO(co_await second_item());
    service.item("work_again").handed_out = false;  // the queue has taken it back
    co_return co_await until([this] { return service.item("work_again").state == "stopped"; });
  }
  Task<void> failing_drain() {
    CO_TRY_DO(co_await stopped(1));
    CO_TRY_DO(co_await quiet());
    service.fail("poll", std::vector<Fault>(7, Fault{.status = 500}));
    want(2);
    orchestrator->hint();
    co_return co_await stopped(2);
  }

  Task<void> refused_and_stops() {
    CO_TRY_DO(co_await until([this] { return ended.has_value(); }));
    EXPECT_FALSE(*ended);
    if (!*ended) EXPECT_EQ(ended->error().code, Code::unauthenticated);
    co_return ok;
  }
  Task<void> refused_and_waits() {
    CO_TRY_DO(co_await until([this] { return !orchestrator->status().trouble.empty(); }));
    EXPECT_NE(orchestrator->status().trouble.find("ANTHROPIC_ENVIRONMENT_KEY"), std::string::npos);
    EXPECT_FALSE(ended);
    keys.environment = Secret("another-key");
    orchestrator->set_keys(keys);
    CO_TRY_DO(co_await stopped(1));
    EXPECT_EQ(orchestrator->status().trouble, "");
    EXPECT_EQ(service.seen.back().bearer == "Bearer the-environment-key", false);
    co_return ok;
  }

  Task<void> bad_box() {
    CO_TRY_DO(co_await stopped(1));
    EXPECT_EQ(item(1).forced, 1);
    EXPECT_EQ(service.posted.size(), 1u);
    EXPECT_NE(service.posted.at(0).find("no such image"), std::string::npos)
        << service.posted.at(0);
    want(2);
    CO_TRY_DO(co_await stopped(2));
    EXPECT_EQ(service.posted.size(), 2u);
    co_return ok;
  }

  Task<void> not_fetched() {
    CO_TRY_DO(co_await stopped(1));
    EXPECT_TRUE(engine.boxes.empty() && engine.volumes.empty());
    EXPECT_EQ(service.posted.size(), 1u);
    EXPECT_NE(service.posted.at(0).find("fetches nothing"), std::string::npos);
    co_return ok;
  }

  Task<void> no_ack() {
    CO_TRY_DO(co_await until([this] { return service.count("ack") == 1; }));
    CO_TRY_DO(co_await until([this] { return journal().empty(); }));
    EXPECT_EQ(service.count("heartbeat"), 0u);
    EXPECT_EQ(service.count("stop"), 0u);
    want(2);
    co_return co_await stopped(2);
  }

  // ---- crashes

  // The first life ends in the middle of a call; the second begins.
  Task<void> die_during_the_call() {
    engine.blocked = true;
    CO_TRY_DO(co_await until([this] { return engine.calls["call_1"].asked == 1; }));
    CO_TRY_DO(co_await until([this] { return !journal().empty() && !journal()[0].box.empty(); }));
    EXPECT_EQ(journal()[0].state, Claim::State::held);
    EXPECT_FALSE(journal()[0].last_heartbeat.empty());
    co_return ok;
  }
  Task<void> lives(Task<void> (Orchestrated::*second)()) {
    {
      net::TaskGroup first(loop);
      CO_TRY_DO(open());
      first.spawn("orchestrator", go());
      CO_TRY_DO(co_await die_during_the_call());
      CO_TRY_DO(co_await first.finish(10s));
      orchestrator.reset();
    }
    EXPECT_TRUE(engine.ended.empty());  // what runs in the box goes on
    EXPECT_EQ(service.count("stop"), 0u);
    service.seen.clear();
    if (between) between();
    co_return co_await both([this, second] { return (this->*second)(); });
  }
  void with_two_lives(Task<void> (Orchestrated::*second)()) {
    auto ran = net::run(loop, lives(second));
    EXPECT_TRUE(ran) << ran.error().what;
  }
  Task<void> goes_on() {
    CO_TRY_DO(co_await until([this] { return engine.calls["call_1"].asked >= 2; }));
    engine.blocked = false;
    engine.changed.notify();
    CO_TRY_DO(co_await stopped(1));
    EXPECT_EQ(item(1).acks, 1);
    EXPECT_EQ(item(1).forced, 1);
    EXPECT_EQ(service.posted.size(), 1u);
    EXPECT_EQ(engine.boxes.size(), 1u);
    for (const auto& seen : service.seen)
      EXPECT_EQ(seen.bearer, "Bearer the-environment-key") << seen.verb;
    co_return ok;
  }
  Task<void> somebody_else_has_it() {
    CO_TRY_DO(co_await until([this] { return journal().empty(); }));
    EXPECT_EQ(item(1).stops, 0);
    EXPECT_TRUE(service.posted.empty());
    EXPECT_EQ(engine.calls["call_1"].asked, 1);
    co_return ok;
  }
  Task<void> box_is_gone() {
    engine.blocked = false;
    engine.changed.notify();
    CO_TRY_DO(co_await stopped(1));
    EXPECT_EQ(service.posted.size(), 1u);
    if (!service.posted.empty()) EXPECT_TRUE(service.posted[0].contains("was lost"));
    co_return ok;
  }

  // ---- drains

  Task<void> drain_idle() {
    CO_TRY_DO(co_await until([this] { return service.posted.size() == 1; }));
    CO_TRY_DO(co_await orchestrator->drain(10s));
    EXPECT_EQ(item(1).forced, 1);
    EXPECT_TRUE(journal().empty());
    CO_TRY_DO(co_await until([this] { return ended.has_value(); }));
    EXPECT_TRUE(*ended);
    co_return ok;
  }
  Task<void> let_go_soon() {
    CO_TRY_DO(co_await until([this] { return service.count("poll") > 0; }));
    engine.blocked = false;
    engine.changed.notify();
    co_return ok;
  }
  Task<void> drain_busy() {
    CO_TRY_DO(co_await until([this] { return engine.calls.size() == 1; }));
    net::TaskGroup group(loop);
    group.spawn("let go", let_go_soon());
    CO_TRY_DO(co_await orchestrator->drain(10s));
    EXPECT_EQ(service.posted.size(), 1u);
    EXPECT_EQ(item(1).forced, 1);
    EXPECT_TRUE(journal().empty());
    co_return ok;
  }
  Task<void> drain_cut() {
    CO_TRY_DO(co_await until([this] { return engine.calls.size() == 1; }));
    CO_TRY_DO(co_await orchestrator->drain(10ms));
    EXPECT_TRUE(service.posted.empty());
    EXPECT_EQ(item(1).stops, 0);
    EXPECT_TRUE(engine.ended.empty());
    EXPECT_EQ(journal().size(), 1u);
    co_return ok;
  }
  Task<void> held() {
    CO_TRY_DO(co_await until([this] { return service.posted.size() == 1; }));
    co_return co_await orchestrator->drain(10s);
  }
  Task<void> drain_held_ours() {
    CO_TRY_DO(co_await held());
    EXPECT_EQ(item(1).forced, 1);
    EXPECT_TRUE(journal().empty());
    co_return ok;
  }
  Task<void> drain_held_foreign() {
    CO_TRY_DO(co_await held());
    EXPECT_EQ(item(1).stops, 0);
    EXPECT_EQ(journal().size(), 1u);
    co_return ok;
  }

  // ---- others

  Task<void> second_on_the_machine() {
    CO_TRY_DO(co_await until([this] { return service.count("poll") > 0; }));
    options.state_dir = "";
    options.lock_dir = state;
    CO_TRY(second, Orchestrator::open(loop, options, keys));
    auto refused = co_await second->run();
    EXPECT_FALSE(refused);
    if (!refused) EXPECT_EQ(refused.error().code, Code::conflict);
    co_return ok;
  }
  Task<void> looks_twice() {
    return until([this] { return service.count("stats") >= 3; });
  }
  Task<void> ends_somehow() {
    return until(
        [this] { return item(1).beats > 0 && journal().empty() && service.count("stop") > 0; });
  }
  Task<void> rides_out_the_service() {
    CO_TRY_DO(co_await stopped(1));
    EXPECT_EQ(orchestrator->status().trouble, "");
    co_return ok;
  }
};

TEST_F(Orchestrated, ByHintsItAsksWhenItIsToldToAndNoMoreThanThat) {
  options.ask = Options::Ask::on_hint;
  want(1);
  with_orchestrator(&Orchestrated::hinted);
}
TEST_F(Orchestrated, AHintThatComesWhileTheQueueIsAskedMakesAnotherLook) {
  options.ask = Options::Ask::on_hint;
  want(1);
  with_orchestrator(&Orchestrated::hint_while_asking);
}
TEST_F(Orchestrated, AHintThatIsLostCostsSomeTime) {
  options.ask = Options::Ask::on_hint;
  options.ask_anyway = 20ms;
  want(1);
  with_orchestrator(&Orchestrated::lost_hint);
}
TEST_F(Orchestrated, ByHintsAnItemThatWasHeldBackIsLookedForAgain) {
  options.ask = Options::Ask::on_hint;
  options.reclaim_older_than_ms = 20;
  engine.blocked = true;
  want(1);
  with_orchestrator(&Orchestrated::held_back);
}
TEST_F(Orchestrated, ADrainThatFailsGoesOnUntilItDoesNot) {
  options.ask = Options::Ask::on_hint;
  want(1);
  with_orchestrator(&Orchestrated::failing_drain);
}

TEST_F(Orchestrated, ServesASessionFromTheQueueToItsEnd) {
  want(1);
  with_orchestrator(&Orchestrated::one_session);
}
TEST_F(Orchestrated, WithoutAnEnvironmentAForeignServiceIsRefused) {
  service.ours = false;
  with_orchestrator(&Orchestrated::no_environment);
}
TEST_F(Orchestrated, AForeignServiceIsServedByItsEnvironmentId) {
  service.ours = false;
  options.environment_id = "env_1";
  want(1);
  with_orchestrator(&Orchestrated::one_session);
}
TEST_F(Orchestrated, BeyondItsLimitWorkStaysInTheQueue) {
  options.max_sessions = 2;
  engine.blocked = true;
  for (int i = 0; i < 6; ++i) want(i);
  with_orchestrator(&Orchestrated::many);
}
TEST_F(Orchestrated, ASessionHasOneItemAtATime) {
  options.pace.same_session = 10'000ms;
  engine.blocked = true;
  want(1);
  with_orchestrator(&Orchestrated::waits_its_turn);
}
TEST_F(Orchestrated, AnItemWhoseSessionIsHeldForLongStaysUnacknowledged) {
  options.pace.same_session = 0ms;
  engine.blocked = true;
  want(1);
  ::testing::internal::CaptureStderr();
  with_orchestrator(&Orchestrated::comes_again);
  EXPECT_TRUE(::testing::internal::GetCapturedStderr().contains("item.later"));
}
TEST_F(Orchestrated, RefusedForGoodItStopsWhereAsked) {
  options.when_refused = Options::Refused::stop;
  service.fail("poll", {Fault{401}});
  with_orchestrator(&Orchestrated::refused_and_stops);
}
TEST_F(Orchestrated, RefusedForGoodItWaitsForAnotherKey) {
  service.fail("poll", {Fault{401}});
  want(1);
  with_orchestrator(&Orchestrated::refused_and_waits);
}
TEST_F(Orchestrated, AServiceThatIsAwayIsWaitedFor) {
  service.fail("credential", std::vector<Fault>(3, Fault{503}));
  service.fail("poll", std::vector<Fault>(3, Fault{529}));
  want(1);
  with_orchestrator(&Orchestrated::rides_out_the_service);
}
TEST_F(Orchestrated, ABoxThatCannotBeHadIsSaidAndEndsNoOtherItem) {
  engine.answers = {http::json(404, R"({"error":"no","code":"SANDBOX_NOT_FOUND"})"),
                    http::json(201, "{}"),  // its outputs
                    http::json(400, R"({"error":"no such image","code":"INVALID"})")};
  want(1);
  with_orchestrator(&Orchestrated::bad_box);
}
TEST_F(Orchestrated, ForFilesThatNobodyFetchesNoBoxIsMade) {
  options.fetches = false;
  options.ceiling.directories = {"seeds=/nowhere"};
  service.session("sesn_1").metadata = R"({"glovebox.files":"dir:seeds"})";
  want(1);
  with_orchestrator(&Orchestrated::not_fetched);
}
TEST_F(Orchestrated, AnItemThatCannotBeAcknowledgedIsLeftToTheQueue) {
  service.fail("ack", {Fault{404}});
  want(1);
  with_orchestrator(&Orchestrated::no_ack);
}
TEST_F(Orchestrated, AfterACrashTheNextOneGoesOnWithTheSameCall) {
  want(1);
  with_two_lives(&Orchestrated::goes_on);
}
TEST_F(Orchestrated, AfterACrashAndABoxLostTheModelIsTold) {
  want(1);
  between = [this] { engine.boxes.clear(); };
  with_two_lives(&Orchestrated::box_is_gone);
}
TEST_F(Orchestrated, AfterACrashALeaseThatIsSomebodyElsesIsLeftAlone) {
  want(1);
  between = [this] {
    item(1).last = "somebody else's";
    Claim claim = journal().at(0);  // we were away for longer than the lease lasts
    claim.touched_ms -= claim.ttl_ms + 1'000;
    auto opened = Journal::open(state + "/journal.db");
    ASSERT_TRUE(opened);
    ASSERT_TRUE(opened->add(claim));
  };
  with_two_lives(&Orchestrated::somebody_else_has_it);
}
TEST_F(Orchestrated, ADrainStopsIdleSessions) {
  options.max_idle = 0ms;
  want(1);
  with_orchestrator(&Orchestrated::drain_idle);
}
TEST_F(Orchestrated, ADrainLetsRunningCallsFinish) {
  engine.blocked = true;
  options.max_idle = 0ms;
  want(1);
  with_orchestrator(&Orchestrated::drain_busy);
}
TEST_F(Orchestrated, ADrainThatTakesTooLongLeavesTheCallToTheNextProcess) {
  engine.blocked = true;
  want(1);
  with_orchestrator(&Orchestrated::drain_cut);
}
TEST_F(Orchestrated, ADrainWithAHeldCallHandsTheSessionBack) {
  want(1);
  service.say(tool_use("h", "bash", R"("evaluated_permission":"ask")"), "sesn_1");
  with_orchestrator(&Orchestrated::drain_held_ours);
}
TEST_F(Orchestrated, ADrainWithAHeldCallLeavesTheLeaseOfAForeignService) {
  service.ours = false;
  options.environment_id = "env_1";
  want(1);
  service.say(tool_use("h", "bash", R"("evaluated_permission":"ask")"), "sesn_1");
  with_orchestrator(&Orchestrated::drain_held_foreign);
}
TEST_F(Orchestrated, OneServesAnEnvironmentOnAMachine) {
  with_orchestrator(&Orchestrated::second_on_the_machine);
}
TEST_F(Orchestrated, AnotherPollerIsWarnedOfOnce) {
  options.pace.stats = 1ms;
  service.workers_polling = 2;
  ::testing::internal::CaptureStderr();
  with_orchestrator(&Orchestrated::looks_twice);
  const std::string log = ::testing::internal::GetCapturedStderr();
  auto first = log.find("orchestrator.not_alone");
  EXPECT_NE(first, std::string::npos);
  EXPECT_EQ(log.find("orchestrator.not_alone", first + 1), std::string::npos);
}
TEST_F(Orchestrated, NoSecretIsLoggedOrWritten) {
  want(1);
  service.fail("poll", {Fault{500}, Fault{500}, Fault{500}, Fault{500}});
  service.fail("heartbeat", {Fault{500}, Fault{500}, Fault{500}, Fault{500}});
  service.fail("stop", {Fault{403}});
  ::testing::internal::CaptureStderr();
  with_orchestrator(&Orchestrated::ends_somehow);
  std::string all = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(all.find("item.end"), std::string::npos);
  for (const auto& entry : std::filesystem::directory_iterator(state)) {
    std::ifstream file(entry.path(), std::ios::binary);
    all.append(std::istreambuf_iterator<char>(file), {});
  }
  for (std::string canary : {"the-environment-key", "engine-key", token.c_str(), secret.c_str()})
    EXPECT_EQ(all.find(canary), std::string::npos) << canary;
}

TEST(OrchestratorOptions, NonsenseIsRefusedAtOnce) {
  net::Loop loop;
  auto refused = [&](Options options) { return !Orchestrator::open(loop, options, {}); };
  EXPECT_TRUE(refused({.max_sessions = 0}));
  EXPECT_TRUE(refused({.poll_block_ms = 1000}));
  EXPECT_TRUE(refused({.poll_block_ms = -1}));
  EXPECT_TRUE(refused({.service_url = "ftp://x"}));
  EXPECT_TRUE(refused({.engine_url = "nonsense"}));
  EXPECT_TRUE(refused({.state_dir = "/nonexistent/folder"}));
  EXPECT_FALSE(refused({}));
}

}  // namespace
}  // namespace glovebox::orchestrator

#include "runner/session_runner.h"

#include "runner/test_loop.h"

namespace glovebox::runner {
namespace {

using End = SessionRunner::End;
using Fault = FakeService::Fault;

class Runner : public ServiceTest {
 public:
  Service service{loop, fake.options()};
  std::shared_ptr<FakeHands> hands = std::make_shared<FakeHands>();
  SessionOptions options{.max_idle = 0ms,
                         .tool_grace = 0ms,
                         .first_hand_retry = 1ms,
                         .send_window = 10'000ms,
                         .first_send_retry = 1ms,
                         .longest_send_retry = 2ms,
                         .first_reconnect = 1ms,
                         .longest_reconnect = 2ms,
                         .relist = 5ms};
  std::unique_ptr<SessionRunner> runner;
  std::optional<Result<End>> end;

  // Starts the runner, lets the test do its part, and waits for the runner's end.
  void with_runner(Task<void> (Runner::*test)()) { run(both(test)); }

  Task<void> start() {
    runner = std::make_unique<SessionRunner>(loop, service, hands, "sesn_1", key(), options);
    end = co_await runner->run();
    co_return ok;
  }
  Task<void> both(Task<void> (Runner::*test)()) {
    net::TaskGroup group(loop);
    fake.session();
    group.spawn("runner", start());
    auto tested = co_await (this->*test)();
    if (!end && runner) runner->stop();
    auto ended = co_await until([&] { return end.has_value(); }, "the runner's end");
    CO_TRY_DO(co_await group.finish(5s));
    if (!tested) co_return tested;
    co_return ended;
  }
  Task<void> attached(int times = 1) {
    return until(
        [this, times] {
          return fake.session().streams >= times &&
                 fake.count("events") >= static_cast<std::size_t>(times) &&
                 fake.session().attached > 0;
        },
        "the stream");
  }
  Task<void> posts(std::size_t n) {
    return until([this, n] { return fake.posted.size() >= n; }, "the result");
  }
  Task<void> running(int n = 1) {
    return until([this, n] { return hands->running == n; }, "the running call");
  }
  // Everything said so far has been heard, and whatever it leads to has been posted.
  Task<void> quiet() {
    const std::string marker = str("marker_", hands->calls.size());
    fake.say(tool_use(marker));
    co_return co_await until(
        [&] { return !fake.posted.empty() && fake.posted.back().contains(marker); }, marker);
  }

  Task<void> live_call() {
    CO_TRY_DO(co_await attached());
    fake.say(tool_use("a"));
    CO_TRY_DO(co_await posts(1));
    EXPECT_EQ(
        fake.posted[0],
        R"({"type":"user.tool_result","tool_use_id":"a","is_error":false,"content":[{"type":"text","text":"done"}]})");
    EXPECT_EQ(hands->calls[0].name, "bash");
    EXPECT_EQ(hands->calls[0].input, R"({"command":"ls"})");
    co_return ok;
  }

  Task<void> reconnects() {
    CO_TRY_DO(co_await posts(1));
    for (int i = 2; i < 5; ++i) {
      fake.cut_streams();
      CO_TRY_DO(co_await attached(i));
    }
    fake.say(tool_use("late"));
    CO_TRY_DO(co_await posts(2));
    EXPECT_EQ(hands->calls.size(), 2u);
    co_return ok;
  }

  Task<void> between_list_and_stream() {
    // The call is said after the stream was opened and before the history is given.
    CO_TRY_DO(co_await until([this] { return fake.count("events") == 1; }));
    fake.say(tool_use("a"));
    fake.release("events");
    CO_TRY_DO(co_await posts(1));
    CO_TRY_DO(co_await quiet());
    EXPECT_EQ(hands->calls.size(), 2u);
    co_return ok;
  }

  Task<void> list_fails() {
    CO_TRY_DO(co_await attached());
    fake.say(tool_use("live"));
    CO_TRY_DO(co_await posts(2));
    EXPECT_EQ(hands->calls[0].id, "live");
    EXPECT_EQ(hands->calls[1].id, "old");
    co_return ok;
  }

  // While `a` runs, `event` is said; it must cancel the call without a result of ours.
  Task<void> cancelled_by(std::string event) {
    CO_TRY_DO(co_await attached());
    fake.say(tool_use("a", "bash", R"("session_thread_id":"t")"));
    CO_TRY_DO(co_await running());
    fake.say(event);
    CO_TRY_DO(co_await until([this] { return hands->cancelled == 1; }, "the call's end"));
    EXPECT_TRUE(fake.posted.empty());
    co_return ok;
  }
  Task<void> interrupted() {
    CO_TRY_DO(co_await cancelled_by(plain_event("user.interrupt")));
    hands->let_go();
    CO_TRY_DO(co_await quiet());  // it goes on with what comes next
    EXPECT_EQ(fake.posted.size(), 1u);
    co_return ok;
  }
  Task<void> answered_elsewhere() { return cancelled_by(tool_result("a")); }
  Task<void> thread_over() {
    return cancelled_by(plain_event("session.thread_status_terminated", "t"));
  }
  Task<void> terminated() {
    CO_TRY_DO(co_await cancelled_by(plain_event("session.status_terminated")));
    CO_TRY_DO(co_await until([this] { return end.has_value(); }));
    EXPECT_EQ(**end, End::terminated);
    co_return ok;
  }
  Task<void> deleted() {
    CO_TRY_DO(co_await cancelled_by(plain_event("session.deleted")));
    CO_TRY_DO(co_await until([this] { return end.has_value(); }));
    EXPECT_EQ(**end, End::terminated);
    co_return ok;
  }

  Task<void> too_long() {
    CO_TRY_DO(co_await attached());
    fake.say(tool_use("a"));
    CO_TRY_DO(co_await posts(1));
    EXPECT_EQ(hands->cancelled, 1);
    EXPECT_NE(fake.posted[0].find(R"("is_error":true)"), std::string::npos);
    EXPECT_NE(fake.posted[0].find("did not finish within"), std::string::npos);
    co_return ok;
  }

  Task<void> hands_fail_once() {
    CO_TRY_DO(co_await posts(1));
    EXPECT_EQ(hands->calls.size(), 2u);
    EXPECT_EQ(hands->calls[0].id, hands->calls[1].id);
    EXPECT_NE(fake.posted[0].find(R"("is_error":false)"), std::string::npos);
    co_return ok;
  }
  Task<void> hands_fail() {
    CO_TRY_DO(co_await posts(1));
    EXPECT_EQ(hands->calls.size(), 3u);
    EXPECT_NE(fake.posted[0].find(R"("is_error":true)"), std::string::npos);
    EXPECT_NE(fake.posted[0].find("Error: no box"), std::string::npos);
    co_return ok;
  }

  Task<void> sent_again() {
    CO_TRY_DO(co_await posts(1));
    EXPECT_EQ(hands->calls.size(), 1u);
    EXPECT_EQ(fake.posted.size(), 1u);
    EXPECT_EQ(fake.count("send"), 9u);
    co_return ok;
  }
  Task<void> counted_unheard() {
    // The service took it and its answer was lost: sent again, which the service sorts out.
    CO_TRY_DO(co_await posts(1));
    CO_TRY_DO(co_await quiet());
    EXPECT_EQ(hands->calls.size(), 2u);
    co_return ok;
  }
  Task<void> window_over() {
    CO_TRY_DO(co_await until([this] { return fake.count("send") >= 3; }));
    CO_TRY_DO(co_await until([this] { return runner->stalled_for() == 0ms; }, "giving up"));
    EXPECT_TRUE(fake.posted.empty());
    EXPECT_EQ(runner->open_calls(), 1u);
    fake.fail("send", {});
    fake.cut_streams();  // the next reading tries it again
    CO_TRY_DO(co_await posts(1));
    EXPECT_EQ(hands->calls.size(), 2u);
    co_return co_await until([this] { return runner->open_calls() == 0; }, "the settled call");
  }
  Task<void> refused() {
    CO_TRY_DO(co_await posts(1));
    EXPECT_NE(fake.posted[0].find("could not be delivered"), std::string::npos);
    EXPECT_NE(fake.posted[0].find(R"("is_error":true)"), std::string::npos);
    co_return ok;
  }
  Task<void> refused_twice() {
    CO_TRY_DO(co_await until([this] { return fake.count("send") == 2; }));
    for (int i = 2; i < 4; ++i) {
      fake.cut_streams();
      CO_TRY_DO(co_await attached(i));
    }
    CO_TRY_DO(co_await quiet());
    EXPECT_EQ(hands->calls.size(), 2u);  // it and the marker: never run again
    co_return ok;
  }

  Task<void> not_ours() {
    CO_TRY_DO(co_await attached());
    fake.say(tool_use("a", "deploy"));
    fake.say(tool_use("b", "bash", R"("evaluated_permission":"deny")"));
    fake.say(tool_use("c", "bash", R"("evaluated_permission":"ask")"));
    fake.say(tool_use("d", "bash", R"("evaluated_permission":"of_the_future")"));
    CO_TRY_DO(co_await quiet());
    EXPECT_EQ(hands->calls.size(), 1u);
    EXPECT_EQ(fake.posted.size(), 1u);
    fake.say(confirmation("c", "allow"));
    fake.say(confirmation("d", "deny"));
    CO_TRY_DO(co_await posts(2));
    CO_TRY_DO(co_await quiet());
    EXPECT_EQ(hands->calls.size(), 3u);
    EXPECT_EQ(hands->calls[1].id, "c");
    co_return ok;
  }

  Task<void> custom() {
    CO_TRY_DO(co_await attached());
    fake.say(R"({"type":"agent.custom_tool_use","id":"a","name":"bash","input":{"command":"x"}})");
    CO_TRY_DO(co_await posts(1));
    EXPECT_NE(fake.posted[0].find(R"("type":"user.custom_tool_result","custom_tool_use_id":"a")"),
              std::string::npos);
    co_return ok;
  }

  Task<void> bad_input() {
    CO_TRY_DO(co_await attached());
    fake.say(R"({"type":"agent.tool_use","id":"a","name":"bash","input":[1]})");
    CO_TRY_DO(co_await posts(1));
    EXPECT_TRUE(hands->calls.empty());
    EXPECT_NE(fake.posted[0].find("not a JSON object"), std::string::npos);
    co_return ok;
  }

  Task<void> goes_idle() {
    CO_TRY_DO(co_await posts(1));
    fake.say(idle("end_turn"));
    CO_TRY_DO(co_await until([this] { return end.has_value(); }));
    EXPECT_EQ(**end, End::idle);
    co_return ok;
  }

  Task<void> stream_refused() {
    CO_TRY_DO(co_await until([this] { return end.has_value(); }));
    EXPECT_TRUE(!*end && fatal(end->error()));
    co_return ok;
  }

  Task<void> asked_while_running() {
    CO_TRY_DO(co_await attached());
    fake.say(tool_use("a"));
    fake.say(tool_use("b"));
    CO_TRY_DO(co_await running());
    CO_TRY_DO(co_await until([this] { return runner->open_calls() == 2; }));
    runner->stop();
    CO_TRY_DO(co_await net::yield());
    EXPECT_FALSE(end);
    hands->let_go();
    CO_TRY_DO(co_await until([this] { return end.has_value(); }));
    EXPECT_EQ(**end, End::asked);
    EXPECT_EQ(fake.posted.size(), 1u);
    EXPECT_EQ(runner->open_calls(), 1u);
    co_return ok;
  }
};

TEST_F(Runner, ALiveCallIsAnswered) { with_runner(&Runner::live_call); }
TEST_F(Runner, ReconnectsRunNothingTwice) {
  fake.say(tool_use("a"));
  with_runner(&Runner::reconnects);
}
TEST_F(Runner, NothingFallsBetweenStreamAndHistory) {
  fake.hold("events");
  with_runner(&Runner::between_list_and_stream);
}
TEST_F(Runner, AHistoryThatCannotBeReadIsReadAgainWhileTheStreamIsServed) {
  fake.say(tool_use("old"));
  fake.fail("events", std::vector<Fault>(6));
  with_runner(&Runner::list_fails);
}
TEST_F(Runner, AnInterruptEndsTheRunningCallAtOnce) {
  hands->blocked = true;
  with_runner(&Runner::interrupted);
}
TEST_F(Runner, SomebodyElsesAnswerEndsTheRunningCall) {
  hands->blocked = true;
  with_runner(&Runner::answered_elsewhere);
}
TEST_F(Runner, AClosedThreadEndsItsRunningCall) {
  hands->blocked = true;
  with_runner(&Runner::thread_over);
}
TEST_F(Runner, TheEndOfTheSessionEndsTheRunningCallAndTheRun) {
  hands->blocked = true;
  with_runner(&Runner::terminated);
}
TEST_F(Runner, ADeletedSessionEndsTheRun) {
  hands->blocked = true;
  with_runner(&Runner::deleted);
}
TEST_F(Runner, ACallThatTakesTooLongIsAnsweredWithThat) {
  hands->blocked = true;
  options.tool_limit = 10ms;
  with_runner(&Runner::too_long);
}
TEST_F(Runner, FailingHandsAreTriedAgainWithTheSameCall) {
  hands->failures = {Error{Code::timeout, "no box"}};
  fake.say(tool_use("a"));
  with_runner(&Runner::hands_fail_once);
}
TEST_F(Runner, HandsThatKeepFailingAreAnAnswer) {
  hands->failures = std::deque<Error>(3, Error{Code::unavailable, "no box"});
  fake.say(tool_use("a"));
  with_runner(&Runner::hands_fail);
}
TEST_F(Runner, ResultsAreSentUntilTheServiceTakesThem) {
  fake.fail("send", std::vector<Fault>(8, Fault{503}));  // each send makes three attempts
  fake.say(tool_use("a"));
  with_runner(&Runner::sent_again);
}
TEST_F(Runner, AResultWhoseReceiptWasLostIsSentAgain) {
  fake.fail("send", {Fault{500, true}});
  fake.say(tool_use("a"));
  with_runner(&Runner::counted_unheard);
}
TEST_F(Runner, AfterTheSendWindowTheCallWaitsForTheNextReading) {
  fake.fail("send", std::vector<Fault>(3, Fault{503}));
  options.send_window = 0ms;
  fake.say(tool_use("a"));
  with_runner(&Runner::window_over);
}
TEST_F(Runner, AResultTheServiceRefusesIsReplacedByWhy) {
  fake.fail("send", {Fault{413}});
  fake.say(tool_use("a"));
  with_runner(&Runner::refused);
}
TEST_F(Runner, ACallThatTakesNoAnswerAtAllIsLeftAlone) {
  fake.fail("send", {Fault{400}, Fault{400}});
  fake.say(tool_use("a"));
  with_runner(&Runner::refused_twice);
}
TEST_F(Runner, ForeignDeniedAndHeldCallsAreNotTouched) { with_runner(&Runner::not_ours); }
TEST_F(Runner, CustomToolsHaveTheirOwnResult) { with_runner(&Runner::custom); }
TEST_F(Runner, AnInputThatIsNoObjectIsAnsweredWithThat) { with_runner(&Runner::bad_input); }
TEST_F(Runner, IdleLongEnoughIsTheEnd) {
  options.max_idle = 5ms;
  fake.say(tool_use("a"));
  with_runner(&Runner::goes_idle);
}
TEST_F(Runner, AStreamRefusedForGoodIsAnError) {
  fake.fail("stream", {Fault{404}});
  with_runner(&Runner::stream_refused);
}
TEST_F(Runner, AskedToStopItFinishesTheRunningCallAndTakesNoOther) {
  hands->blocked = true;
  with_runner(&Runner::asked_while_running);
}

}  // namespace
}  // namespace glovebox::runner

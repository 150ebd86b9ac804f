// The decisions of a session's runner: routing, what the history says, when the countdown runs.
#include "runner/calls.h"

#include <gtest/gtest.h>

#include "runner/fake_service.h"

namespace glovebox::runner {
namespace {

using Time = Calls::Time;

struct RouteCase {
  bool closed;
  std::optional<std::string> permission, verdict;
  Route expected;
};

TEST(Route, FirstMatchDecides) {
  const std::optional<std::string> none;
  const RouteCase cases[] = {
      {true, none, none, Route::ignore},
      {true, "deny", "allow", Route::ignore},
      {false, "deny", none, Route::settle},
      {false, "deny", "allow", Route::settle},
      {false, "ask", "allow", Route::run},
      {false, none, "allow", Route::run},
      {false, "of_the_future", "allow", Route::run},
      {false, "ask", "deny", Route::settle},
      {false, "allow", "deny", Route::settle},
      {false, "ask", "of_the_future", Route::settle},
      {false, "ask", "", Route::settle},
      {false, none, none, Route::run},
      {false, "allow", none, Route::run},
      {false, "ask", none, Route::hold},
      {false, "of_the_future", none, Route::hold},
      {false, "", none, Route::hold},
  };
  for (const RouteCase& c : cases)
    EXPECT_EQ(route(c.closed, c.permission, c.verdict), c.expected)
        << c.closed << " " << c.permission.value_or("-") << " " << c.verdict.value_or("-");
}

class CallsTest : public ::testing::Test {
 protected:
  static constexpr Millis kIdle{60'000};
  Time now{std::chrono::hours(1)};
  Calls calls{kIdle, [](std::string_view tool) { return tool == "bash"; }};

  static Event event(const std::string& json) {
    auto decoded = decode_event(json);
    EXPECT_TRUE(decoded) << json;
    return decoded ? *decoded : Event{};
  }
  void live(const std::string& json) { calls.live(event(json), now); }
  void history(std::vector<std::string> events) {
    calls.begin_history();
    for (const auto& json : events) calls.history(event(json), now);
    calls.end_history(now);
  }
  void half_history(std::vector<std::string> events) {
    calls.begin_history();
    for (const auto& json : events) calls.history(event(json), now);
    calls.fail_history(now);
  }
  // Takes and answers everything there is to run; their ids.
  std::string run_all(bool answered = true) {
    std::string ids;
    while (auto call = calls.next()) {
      ids += (ids.empty() ? "" : " ") + call->id;
      calls.done(answered, now);
    }
    return ids;
  }
  bool counting() const { return calls.deadline().has_value(); }
};

// ---- history

TEST_F(CallsTest, OnlyOpenCallsOfTheHistoryRunInItsOrder) {
  history({tool_use("a"), tool_use("b"), tool_use("c"), tool_result("b")});
  EXPECT_EQ(run_all(), "a c");
}

TEST_F(CallsTest, AnAnsweredCallIsNeverRunAgain) {
  history({tool_use("a")});
  EXPECT_EQ(run_all(), "a");
  for (int i = 0; i < 3; ++i) {
    history({tool_use("a"), tool_result("a")});
    live(tool_use("a"));
    EXPECT_EQ(run_all(), "");
  }
  history({tool_use("a")});  // our result is not in this reading yet
  EXPECT_EQ(run_all(), "");
}

TEST_F(CallsTest, StreamAndHistoryTellTheSameCallOnce) {
  history({tool_use("a")});
  live(tool_use("a"));
  live(tool_use("b"));
  history({tool_use("a"), tool_use("b")});
  EXPECT_EQ(run_all(), "a b");
}

TEST_F(CallsTest, ACallThatCouldNotBeAnsweredIsTriedAtTheNextReading) {
  history({tool_use("a")});
  EXPECT_EQ(run_all(false), "a");
  EXPECT_EQ(calls.open(), 1u);
  live(tool_use("a"));
  EXPECT_EQ(run_all(), "");
  history({tool_use("a")});
  EXPECT_EQ(run_all(), "a");
  EXPECT_EQ(calls.open(), 0u);
}

TEST_F(CallsTest, ServiceMadeResultsAnswerToo) {
  history({tool_use("a"), tool_use("b"), R"({"type":"agent.tool_result","tool_use_id":"a"})",
           R"({"type":"user.custom_tool_result","custom_tool_use_id":"b"})"});
  EXPECT_EQ(run_all(), "");
}

TEST_F(CallsTest, AnInterruptClosesWhatCameBeforeItAndNothingAfter) {
  history({tool_use("a"), plain_event("user.interrupt"), tool_use("b")});
  EXPECT_EQ(run_all(), "b");
}

TEST_F(CallsTest, AnOldInterruptLeavesTheRunningCallAlone) {
  history({});
  live(tool_use("b"));
  ASSERT_TRUE(calls.next());
  history({tool_use("a"), plain_event("user.interrupt"), tool_use("b")});
  EXPECT_FALSE(calls.unwanted());
  calls.done(true, now);
  EXPECT_EQ(run_all(), "");
}

TEST_F(CallsTest, AnInterruptOfOneThreadLeavesTheOthers) {
  history({plain_event("session.thread_status_running", "primary")});
  live(tool_use("a", "bash", R"("session_thread_id":"child")"));
  live(tool_use("b"));
  live(tool_use("c", "bash", R"("session_thread_id":"other")"));
  live(plain_event("user.interrupt", "child"));
  EXPECT_EQ(run_all(), "b c");
  live(tool_use("d"));
  live(tool_use("e", "bash", R"("session_thread_id":"other")"));
  live(plain_event("user.interrupt", "primary"));
  EXPECT_EQ(run_all(), "e");
}

TEST_F(CallsTest, AFailedReadingForgetsWhatItBrought) {
  half_history({tool_use("a"), tool_use("b"), tool_result("b")});
  EXPECT_EQ(run_all(), "");
  live(tool_use("a"));
  live(tool_use("b"));  // its answer was read
  EXPECT_EQ(run_all(), "a");
}

TEST_F(CallsTest, TerminationInTheHistoryEndsNothing) {
  history({plain_event("session.status_terminated")});
  EXPECT_FALSE(calls.ended());
  live(plain_event("session.status_terminated"));
  EXPECT_TRUE(calls.ended());
}

TEST_F(CallsTest, WithoutAReadingSomethingMayBeOpen) {
  EXPECT_EQ(calls.open(), 1u);
  history({});
  EXPECT_EQ(calls.open(), 0u);
}

// ---- permissions

TEST_F(CallsTest, HeldCallsWaitForTheirVerdict) {
  history({});
  live(tool_use("a", "bash", R"("evaluated_permission":"ask")"));
  live(tool_use("b", "bash", R"("evaluated_permission":"ask")"));
  EXPECT_EQ(run_all(), "");
  EXPECT_EQ(calls.open(), 2u);
  live(confirmation("b", "allow"));
  EXPECT_EQ(run_all(), "b");
  live(confirmation("a", "deny"));
  EXPECT_EQ(run_all(), "");
  EXPECT_EQ(calls.open(), 0u);
}

TEST_F(CallsTest, AVerdictMayComeBeforeItsCall) {
  history({confirmation("a", "allow"), tool_use("a", "bash", R"("evaluated_permission":"ask")")});
  EXPECT_EQ(run_all(), "a");
  live(confirmation("b", "allow"));
  live(tool_use("b", "bash", R"("evaluated_permission":"ask")"));
  EXPECT_EQ(run_all(), "b");
}

TEST_F(CallsTest, AReconnectFindsTheVerdictOfAHeldCall) {
  history({});
  const std::string use = tool_use("a", "bash", R"("evaluated_permission":"ask")");
  live(use);
  history({use});
  EXPECT_EQ(run_all(), "");
  history({use, confirmation("a", "allow")});
  EXPECT_EQ(run_all(), "a");
}

TEST_F(CallsTest, DeniedCallsAreSettledWithoutAWord) {
  history({tool_use("a", "bash", R"("evaluated_permission":"deny")")});
  EXPECT_EQ(run_all(), "");
  EXPECT_EQ(calls.open(), 0u);
}

TEST_F(CallsTest, ForeignToolsAreLeftToTheirOwner) {
  history({tool_use("a", "web_search")});
  live(tool_use("b", "deploy"));
  EXPECT_EQ(run_all(), "");
  EXPECT_EQ(calls.open(), 0u);
}

// ---- while a call runs

TEST_F(CallsTest, TheRunningCallBecomesUnwanted) {
  struct Case {
    std::string event;
    bool unwanted;
  };
  const Case cases[] = {
      {plain_event("user.interrupt"), true},
      {tool_result("a"), true},
      {R"({"type":"agent.tool_result","tool_use_id":"a"})", true},
      {plain_event("session.thread_status_terminated", "child"), true},
      {plain_event("user.interrupt", "child"), true},
      {tool_result("b"), false},
      {plain_event("session.thread_status_terminated", "other"), false},
      {plain_event("user.interrupt", "other"), false},
      {plain_event("user.message"), false},
      {idle("end_turn"), false},
  };
  for (const Case& c : cases) {
    Calls fresh(kIdle, [](std::string_view) { return true; });
    fresh.live(event(tool_use("a", "bash", R"("session_thread_id":"child")")), now);
    ASSERT_TRUE(fresh.next());
    fresh.live(event(c.event), now);
    EXPECT_EQ(fresh.unwanted(), c.unwanted) << c.event;
  }
}

TEST_F(CallsTest, CallsRunOneAfterAnother) {
  history({tool_use("a"), tool_use("b")});
  ASSERT_TRUE(calls.next());
  EXPECT_FALSE(calls.next());
  calls.done(true, now);
  EXPECT_TRUE(calls.next());
}

TEST_F(CallsTest, AQueuedCallThatIsAnsweredElsewhereIsNotRun) {
  history({tool_use("a"), tool_use("b")});
  ASSERT_TRUE(calls.next());
  live(tool_result("b"));
  calls.done(true, now);
  EXPECT_FALSE(calls.next());
}

TEST_F(CallsTest, AClosedThreadDropsWhatWaitsThere) {
  history({});
  live(tool_use("a", "bash", R"("session_thread_id":"t")"));
  live(tool_use("b", "bash", R"("session_thread_id":"t","evaluated_permission":"ask")"));
  live(plain_event("session.thread_status_terminated", "t"));
  live(tool_use("c", "bash", R"("session_thread_id":"t")"));
  EXPECT_EQ(run_all(), "");
  live(confirmation("b", "allow"));
  EXPECT_EQ(run_all(), "");
}

// ---- the countdown

TEST_F(CallsTest, OnlyTheEndOfATurnStartsTheCountdown) {
  struct Case {
    std::string event;
    bool from_counting, from_rest;  // whether it runs afterwards
  };
  const Case cases[] = {
      {idle("end_turn"), true, true},
      {idle("retries_exhausted"), true, true},
      {idle("of_the_future"), true, true},
      {idle("requires_action"), false, false},
      {plain_event("session.thread_status_idle", "t"), false, false},
      {plain_event("session.usage"), false, false},
      {plain_event("session.updated"), false, false},
      {plain_event("of.the_future"), false, false},
      {plain_event("user.message"), false, false},
      {tool_result("x"), false, false},
      {confirmation("x", "allow"), true, false},
      {plain_event("session.thread_status_terminated", "t"), true, false},
  };
  for (const Case& c : cases) {
    for (bool was_counting : {true, false}) {
      Calls fresh(kIdle, [](std::string_view) { return true; });
      fresh.begin_history();
      if (was_counting) fresh.history(event(idle("end_turn")), now);
      fresh.end_history(now);
      ASSERT_EQ(fresh.deadline().has_value(), was_counting);
      fresh.live(event(c.event), now);
      EXPECT_EQ(fresh.deadline().has_value(), was_counting ? c.from_counting : c.from_rest)
          << c.event << (was_counting ? " while counting" : " at rest");
    }
  }
}

TEST_F(CallsTest, TheCountdownIsMaxIdleLongAndStartsAfresh) {
  history({});
  live(idle("end_turn"));
  EXPECT_EQ(*calls.deadline(), now + kIdle);
  now += 10s;
  live(idle("end_turn"));
  EXPECT_EQ(*calls.deadline(), now + kIdle);
}

TEST_F(CallsTest, MaxIdleOfZeroNeverRunsOut) {
  Calls for_ever(0ms, [](std::string_view) { return true; });
  for_ever.live(event(idle("end_turn")), now);
  EXPECT_FALSE(for_ever.deadline());
}

TEST_F(CallsTest, ATurnThatEndedWhileWeWereAwayCounts) {
  history({tool_use("a"), tool_result("a"), idle("end_turn"),
           plain_event("session.thread_status_terminated", "t")});
  EXPECT_TRUE(counting());
  history({idle("end_turn"), plain_event("session.usage")});
  EXPECT_FALSE(counting());
  history({idle("requires_action")});
  EXPECT_FALSE(counting());
}

TEST_F(CallsTest, AForeignCallInTheHistoryKeepsTheCountdownOff) {
  history({tool_use("a", "web_search"), idle("end_turn")});
  EXPECT_FALSE(counting());
  history({tool_use("a", "web_search"), R"({"type":"agent.tool_result","tool_use_id":"a"})",
           idle("end_turn")});
  EXPECT_TRUE(counting());
}

TEST_F(CallsTest, AHeldCallPutsTheCountdownOff) {
  history({tool_use("a", "bash", R"("evaluated_permission":"ask")"), idle("end_turn")});
  EXPECT_FALSE(counting());
  now += 500s;
  live(confirmation("a", "deny"));
  ASSERT_TRUE(counting());
  EXPECT_EQ(*calls.deadline(), now + kIdle);
}

TEST_F(CallsTest, ARunningCallPutsTheCountdownOff) {
  history({tool_use("a"), idle("end_turn")});
  ASSERT_TRUE(calls.next());
  EXPECT_FALSE(counting());
  now += 100s;
  calls.done(true, now);
  ASSERT_TRUE(counting());
  EXPECT_EQ(*calls.deadline(), now + kIdle);
}

TEST_F(CallsTest, ApprovingAForeignCallDoesNotStartTheCountdown) {
  history({tool_use("a", "deploy", R"("evaluated_permission":"ask")"), idle("end_turn")});
  live(confirmation("a", "allow"));
  EXPECT_FALSE(counting());
}

TEST_F(CallsTest, AfterAFailedReadingTheEndOfAThreadStopsTheCountdown) {
  history({idle("end_turn")});
  ASSERT_TRUE(counting());
  half_history({});
  EXPECT_TRUE(counting());
  live(plain_event("session.thread_status_terminated", "t"));
  EXPECT_FALSE(counting());
}

}  // namespace
}  // namespace glovebox::runner

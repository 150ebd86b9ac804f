// What the model says, and what becomes of it.
#include <boost/json.hpp>

#include "brain/session_world.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::pair<std::string, std::string> bash() { return {"bash", R"({"command":"ls"})"}; }

// --- The model's other ways to end

TEST(Turn, ARefusalIsToldWithItsDetails) {
  World world;
  world.fake.replies.push_back(
      {ModelReply{.content = "[]",
                  .stop_reason = "refusal",
                  .stop_details = R"({"type":"refusal","category":"cyber","explanation":null})",
                  .usage = "{}"}});
  world.say("go");
  world.settle();
  EXPECT_THAT(world.last("session.status_idle"),
              HasSubstr(R"("stop_reason":{"type":"refusal"},"stop_details":{"type":"refusal",)"
                        R"("category":"cyber","explanation":null})"));
  EXPECT_EQ(world.row().stop_reason, "refusal");
}

TEST(Turn, AnAnswerThatWasCutOffGoesOn) {
  World world;
  world.fake.text("The beginning", "max_tokens");
  world.fake.text("and the end.");
  world.say("go");
  world.settle();
  ASSERT_THAT(world.fake.requests, SizeIs(2));
  EXPECT_THAT(world.fake.requests[1],
              AllOf(HasSubstr("The beginning"), HasSubstr("Go on exactly where it stopped")));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Turn, AnAnswerThatIsAlwaysCutOffEndsTheTurn) {
  World world;
  for (int i = 0; i < 10; ++i) world.fake.text(str("part ", i), "max_tokens");
  world.say("go");
  world.settle();
  EXPECT_THAT(world.fake.requests, SizeIs(3));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Turn, APausedTurnIsAskedAgainWithWhatItSaid) {
  World world;
  world.fake.text("Let me think", "pause_turn");
  world.fake.text("Done.");
  world.say("go");
  world.settle();
  ASSERT_THAT(world.fake.requests, SizeIs(2));
  EXPECT_THAT(
      world.fake.requests[1],
      HasSubstr(R"({"role":"assistant","content":[{"type":"text","text":"Let me think"}]}])"));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Turn, AnEmptyAnswerEndsTheTurnWithoutAMessage) {
  World world;
  world.fake.replies.push_back(
      {ModelReply{.content = "[]", .stop_reason = "end_turn", .usage = "{}"}});
  world.say("go");
  world.settle();
  EXPECT_THAT(world.ids("agent.message"), IsEmpty());
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

// --- Failures of the model

TEST(Turn, AFailedModelEndsTheTurnAndTheNextMessageTriesAgain) {
  World world;
  world.fake.fails({Code::unavailable, "overloaded", "model_overloaded_error"});
  world.say("one");
  world.settle();
  EXPECT_THAT(world.last("session.error"),
              HasSubstr(R"("error":{"type":"model_overloaded_error","message":"overloaded",)"
                        R"("retry_status":{"type":"exhausted"}})"));
  EXPECT_THAT(world.last("span.model_request_end"), HasSubstr(R"("is_error":true)"));
  EXPECT_EQ(world.row().stop_reason, "retries_exhausted");
  world.fake.text("Back.");
  world.say("two");
  world.settle();
  EXPECT_THAT(world.fake.requests[1], AllOf(HasSubstr("one"), HasSubstr("two")));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Turn, AnErrorThatWillNotPassIsTerminal) {
  World world;
  world.fake.fails({Code::forbidden, "no credit", "billing_error"});
  world.say("one");
  world.settle();
  EXPECT_THAT(world.last("session.error"),
              AllOf(HasSubstr("billing_error"), HasSubstr(R"({"type":"terminal"})")));
  EXPECT_EQ(world.row().stop_reason, "retries_exhausted");
}

TEST(Turn, ARetryIsSeenAsRescheduled) {
  World world;
  world.fake.text("There.");
  SessionStatus between{};
  world.fake.replies.back().before = [&](const ModelListener& listener) {
    listener.text(0, "Half a wo");
    listener.retrying({Code::unavailable, "busy", "model_overloaded_error"},
                      "model_overloaded_error", 1ms);
    between = world.row().status;
    listener.resumed();
  };
  world.say("go");
  world.settle();
  EXPECT_EQ(between, SessionStatus::rescheduling);
  EXPECT_THAT(
      world.types(),
      ElementsAre("user.message", "session.status_running", "session.thread_status_running",
                  "span.model_request_start", "session.error", "session.thread_status_rescheduled",
                  "session.status_rescheduled", "session.status_running",
                  "session.thread_status_running", "agent.message", "span.model_request_end",
                  "session.usage", "session.thread_status_idle", "session.status_idle"));
  EXPECT_THAT(world.last("session.error"), HasSubstr(R"("retry_status":{"type":"retrying"})"));
}

TEST(Turn, WhatIsTooMuchForTheModelIsAskedWithLess) {
  World world;
  world.fake.calls({bash()});
  world.say("go");
  world.settle();
  world.fake.fails({Code::too_large, "prompt is too long", "model_request_failed_error"});
  world.fake.text("Done.");
  world.answer(world.open_calls()[0], std::string(60'000, 'x'));
  world.settle();
  ASSERT_THAT(world.fake.requests, SizeIs(3));
  EXPECT_LT(world.fake.requests[2].size(), world.fake.requests[1].size() / 2);
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  EXPECT_THAT(world.ids("span.model_request_start"), SizeIs(2));
}

TEST(Turn, WhatCannotBeMadeShorterFails) {
  World world;
  for (int i = 0; i < 10; ++i)
    world.fake.fails({Code::too_large, "prompt is too long", "model_request_failed_error"});
  world.say("go");
  world.settle();
  EXPECT_THAT(world.fake.requests, SizeIs(1));
  EXPECT_EQ(world.row().stop_reason, "retries_exhausted");
}

TEST(Turn, AnInterruptDuringThePauseBeforeARetryEndsTheTurn) {
  World world;
  ModelListener kept;
  world.fake.replies.push_back(
      {Error{Code::cancelled, "never said"}, [&](const ModelListener& listener) {
         kept = listener;
         listener.retrying({Code::unavailable, "busy", "unknown_error"}, "unknown_error", 1h);
       }});
  world.say("go");
  world.settle();
  EXPECT_EQ(world.row().status, SessionStatus::rescheduling);
  world.send(R"([{"type":"user.interrupt"}])");
  EXPECT_EQ(world.row().status, SessionStatus::idle);
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  // What a request that is over still hears changes nothing.
  std::size_t before = world.events().size();
  kept.resumed();
  kept.thinking();
  kept.text(0, "late");
  kept.retrying({Code::unavailable, "late", "unknown_error"}, "unknown_error", 1ms);
  world.settle();
  EXPECT_EQ(world.events().size(), before);
}

TEST(Turn, AFailedTurnStillTakesUpTheMessageThatWaits) {
  World world;
  world.fake.fails({Code::unavailable, "overloaded", "model_overloaded_error"});
  world.fake.replies.back().before = [&](const ModelListener&) { world.say("two"); };
  world.fake.text("Back.");
  world.say("one");
  world.settle();
  ASSERT_THAT(world.fake.requests, SizeIs(2));
  EXPECT_THAT(world.fake.requests[1], HasSubstr("two"));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Turn, MessagesThatWaitAreTakenUpTogether) {
  World world;
  world.fake.text("First.");
  world.fake.replies.back().before = [&](const ModelListener&) {
    world.say("two");
    world.say("three");
  };
  world.fake.text("Both.");
  world.say("one");
  world.settle();
  ASSERT_THAT(world.fake.requests, SizeIs(2));
  EXPECT_THAT(world.fake.requests[1], AllOf(HasSubstr("two"), HasSubstr("three")));
  EXPECT_THAT(world.ids("session.status_running"), SizeIs(2));
}

TEST(Turn, ThinkingIsToldOnceForEachRequest) {
  World world;
  world.fake.text("Hm.");
  world.fake.replies.back().before = [](const ModelListener& listener) {
    listener.thinking();
    listener.thinking();
  };
  world.say("go");
  world.settle();
  EXPECT_THAT(world.ids("agent.thinking"), SizeIs(1));
}

TEST(Turn, AnInputThatIsNoJsonIsToldToTheModelAndRunByNobody) {
  World world;
  world.fake.calls({{"bash", R"({"INVALID_JSON":"{\"comm"})"}});
  world.fake.text("Again, then.");
  world.say("go");
  world.settle();
  EXPECT_THAT(world.last("agent.tool_use"), HasSubstr(R"("evaluated_permission":"deny")"));
  EXPECT_THAT(world.fake.requests.at(1), HasSubstr("not a JSON object, or was cut off"));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Turn, CallsGetOurIdsAndTheModelHearsThemBack) {
  World world;
  world.fake.calls({bash(), bash()});
  world.fake.text("Done.");
  world.say("go");
  world.settle();
  auto calls = world.ids("agent.tool_use");
  for (const auto& call : calls) world.answer(call, "x");
  world.settle();
  for (const auto& call : calls) {
    EXPECT_THAT(world.fake.requests[1],
                AllOf(HasSubstr(str(R"({"type":"tool_use","id":")", call)),
                      HasSubstr(str(R"({"type":"tool_result","tool_use_id":")", call))));
  }
  EXPECT_THAT(world.fake.requests[1], testing::Not(HasSubstr("toolu_")));
}

TEST(Turn, AnAgentThatCannotBeReadEndsTheTurnInsteadOfTryingForEver) {
  World world;
  SessionRow row = world.row();
  row.agent = "not json";
  ASSERT_TRUE(world.sqlite->save_session(row));
  world.say("go");
  world.settle();
  EXPECT_EQ(world.row().status, SessionStatus::idle);
  EXPECT_EQ(world.row().stop_reason, "retries_exhausted");
}

// --- Previews

Task<void> read(EventLog::Follower& follower, std::vector<std::string>& into) {
  for (;;) {
    CO_TRY(more, co_await follower.next(0ms));
    if (more.empty()) co_return ok;
    into.insert(into.end(), more.begin(), more.end());
  }
}

TEST(Turn, PreviewsComeBeforeTheirMessageAndUnderItsId) {
  World world;
  auto follower = std::move(*world.log->follow(world.id, {"agent.message"}));
  world.fake.text("Hello there.");
  world.fake.replies.back().before = [](const ModelListener& listener) {
    listener.text(3, "Hello");
    listener.text(3, " there.");
  };
  world.say("Hi");
  world.settle();
  std::vector<std::string> seen;
  ASSERT_TRUE(net::run(world.loop, read(*follower, seen)));
  std::string id = world.ids("agent.message").at(0);
  auto at = [&](const std::string& what, bool in_front = false) {
    for (std::size_t i = 0; i < seen.size(); ++i)
      if (in_front ? seen[i].starts_with(what) : seen[i].contains(what)) return i;
    return seen.size();
  };
  std::size_t start = at(str(R"("event":{"type":"agent.message","id":")", id));
  std::size_t delta =
      at(str(R"("event_id":")", id, R"(","delta":{"type":"content_delta","index":0)"));
  std::size_t full = at(R"({"type":"agent.message","id":")" + id, true);
  EXPECT_LT(at("span.model_request_start"), start);
  EXPECT_LT(start, delta);
  EXPECT_LT(delta, full);
  EXPECT_LT(full, seen.size());
}

}  // namespace
}  // namespace glovebox::brain

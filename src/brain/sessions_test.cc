#include "brain/sessions.h"

#include <boost/json.hpp>

#include "brain/session_world.h"

namespace glovebox::brain {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

constexpr std::string_view kLs = R"({"command":"ls"})";
std::pair<std::string, std::string> bash() { return {"bash", std::string(kLs)}; }

std::string result(const std::string& call, const std::string& text = "done") {
  return str(R"({"type":"user.tool_result","tool_use_id":")", call,
             R"(","content":[{"type":"text","text":")", text, R"("}]})");
}
std::string custom_result(const std::string& call) {
  return str(R"({"type":"user.custom_tool_result","custom_tool_use_id":")", call,
             R"(","content":[{"type":"text","text":"sunny"}]})");
}
std::string verdict(const std::string& call, const std::string& result) {
  return str(R"({"type":"user.tool_confirmation","tool_use_id":")", call, R"(","result":")", result,
             R"("})");
}
std::string message(const std::string& text) {
  return str(R"({"type":"user.message","content":[{"type":"text","text":")", text, R"("}]})");
}
const std::string kInterrupt = R"({"type":"user.interrupt"})";
std::string list(std::initializer_list<std::string> events) {
  std::string all;
  for (const auto& event : events) all += str(all.empty() ? "[" : ",", event);
  return all + "]";
}

const std::string kAsk = agent_json(
    R"([{"type":"agent_toolset_20260401","default_config":{"permission_policy":{"type":"always_ask"}}}])");
const std::string kCustom = agent_json(
    R"([{"type":"agent_toolset_20260401"},{"type":"custom","name":"weather","description":"d",)"
    R"("input_schema":{"type":"object"}}])");

// --- A turn

TEST(Sessions, ATurnOfWordsAlone) {
  World world;
  world.fake.text("Hello.");
  world.say("Hi");
  world.settle();
  EXPECT_THAT(world.types(),
              ElementsAre("user.message", "session.status_running", "session.thread_status_running",
                          "span.model_request_start", "agent.message", "span.model_request_end",
                          "session.usage", "session.thread_status_idle", "session.status_idle"));
  EXPECT_THAT(world.last("session.status_idle"),
              HasSubstr(R"("stop_reason":{"type":"end_turn"},"stop_details":null)"));
  EXPECT_EQ(world.row().status, SessionStatus::idle);
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  EXPECT_EQ(world.sessions->running(), 0u);
  EXPECT_EQ(world.queue.ensured, 1);
}

TEST(Sessions, TheRehearsalModelWritesAndReadsBack) {
  auto rehearsal = std::move(*make_rehearsal_model({}));
  World world(agent_json(), rehearsal.get());
  world.say("create hello.txt with 'hi' then read it back");
  world.settle();
  EXPECT_THAT(
      world.last("agent.tool_use"),
      HasSubstr(
          R"("name":"write","input":{"file_path":"hello.txt","content":"hi"},"evaluated_permission":"allow")"));
  EXPECT_THAT(world.ids("agent.thinking"), SizeIs(1));
  ASSERT_THAT(world.open_calls(), SizeIs(1));
  world.answer(world.open_calls()[0], "wrote 2 bytes to hello.txt");
  world.settle();
  EXPECT_THAT(world.last("agent.tool_use"),
              HasSubstr(R"("name":"read","input":{"file_path":"hello.txt"})"));
  world.answer(world.open_calls()[0], "hi");
  world.settle();
  EXPECT_THAT(
      world.last("agent.message"),
      HasSubstr("Rehearsal model (rules, no language model): wrote hello.txt; read it: hi"));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  EXPECT_EQ(world.types().back(), "session.status_idle");
  EXPECT_THAT(world.ids("agent.thinking"), SizeIs(1));
}

TEST(Sessions, CallsAreListedAndTheLastResultGoesOn) {
  World world;
  world.fake.calls({bash(), {"read", R"({"file_path":"a"})"}}, "I look.");
  world.fake.text("Done.");
  world.say("look");
  world.settle();
  auto calls = world.ids("agent.tool_use");
  ASSERT_THAT(calls, SizeIs(2));
  EXPECT_EQ(world.open_calls(), calls);
  EXPECT_EQ(world.row().status, SessionStatus::idle);
  EXPECT_EQ(world.row().stop_reason, "requires_action");
  EXPECT_EQ(world.sessions->running(), 0u);
  EXPECT_EQ(world.queue.ensured, 2);  // at the start, and because a worker is wanted

  std::int64_t before = world.events().back().seq;
  world.answer(calls[1], "b");
  EXPECT_THAT(world.types_after(before),
              ElementsAre("user.tool_result", "session.usage", "session.thread_status_idle",
                          "session.status_idle"));
  EXPECT_THAT(world.open_calls(), ElementsAre(calls[0]));
  EXPECT_THAT(world.fake.requests, SizeIs(1));

  before = world.events().back().seq;
  world.answer(calls[0], "a");
  EXPECT_THAT(world.types_after(before), ElementsAre("user.tool_result", "session.status_running",
                                                     "session.thread_status_running"));
  world.settle();
  ASSERT_THAT(world.fake.requests, SizeIs(2));
  // In the order of the calls, whatever the order of the answers.
  std::string second = world.fake.requests[1];
  EXPECT_LT(second.find(R"("text":"a")"), second.find(R"("text":"b")"));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Sessions, UsageAddsUp) {
  World world;
  world.fake.calls({bash()});
  world.fake.text("Done.");
  world.say("go");
  world.settle();
  world.answer(world.open_calls()[0], "x");
  world.settle();
  EXPECT_THAT(world.row().usage,
              AllOf(HasSubstr(R"("input_tokens":20)"), HasSubstr(R"("output_tokens":10)"),
                    HasSubstr(R"("active_seconds":)")));
  EXPECT_THAT(world.last("session.usage"), HasSubstr(R"("input_tokens":20)"));
  EXPECT_THAT(world.last("span.model_request_end"),
              HasSubstr(R"("is_error":false,"model_usage":{"input_tokens":10,"output_tokens":5)"));
  EXPECT_GT(world.row().active_us, 0);
}

TEST(Sessions, InitialEventsStartTheSession) {
  World world;
  world.fake.text("Hello.");
  auto made = world.sessions->create({.environment_id = "env_1", .agent = agent_json()},
                                     boost::json::parse(list({message("Hi")})).as_array());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->status, SessionStatus::running);
  EXPECT_THAT(made->id, StartsWith("sesn_01"));
  world.id = made->id;
  world.settle();
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Sessions, FiftyAtOnceAreNotMixedUp) {
  auto rehearsal = std::move(*make_rehearsal_model({}));
  World world(agent_json(), rehearsal.get());
  std::vector<std::string> ids;
  for (int i = 0; i < 50; ++i) {
    auto made = world.sessions->create(
        {.environment_id = "env_1", .agent = agent_json()},
        boost::json::parse(list({message(str("run `echo ", i, "`"))})).as_array());
    ASSERT_TRUE(made);
    ids.push_back(made->id);
  }
  world.settle();
  for (int i = 0; i < 50; ++i) {
    world.id = ids[static_cast<std::size_t>(i)];
    EXPECT_THAT(world.last("agent.tool_use"), HasSubstr(str("\"echo ", i, '"')));
    world.answer(world.open_calls().at(0), str("out ", i));
  }
  world.settle();
  for (int i = 0; i < 50; ++i) {
    world.id = ids[static_cast<std::size_t>(i)];
    EXPECT_THAT(world.last("agent.message"), HasSubstr(str("ran `echo ", i, "`: out ", i, '"')));
  }
}

// --- Results that are late, doubled, or wrong

TEST(Sessions, ASecondResultGivesTheFirstAndChangesNothing) {
  World world;
  world.fake.calls({bash()});
  world.fake.text("Done.");
  world.say("go");
  world.settle();
  std::string call = world.open_calls()[0];
  auto first = world.send(list({result(call, "first")}));
  auto at_once = world.send(list({result(call, "second")}));
  world.settle();
  std::size_t before = world.events().size();
  auto late = world.send(list({result(call, "third")}));
  world.settle();
  ASSERT_THAT(late, SizeIs(1));
  EXPECT_EQ(late[0].id, first[0].id);
  EXPECT_EQ(at_once[0].id, first[0].id);
  EXPECT_THAT(late[0].json, HasSubstr("first"));
  EXPECT_EQ(world.events().size(), before);
  EXPECT_THAT(world.fake.requests, SizeIs(2));
}

TEST(Sessions, TheSameResultTwiceInOneRequestCountsOnce) {
  World world;
  world.fake.calls({bash()});
  world.fake.text("Done.");
  world.say("go");
  world.settle();
  std::string call = world.open_calls()[0];
  auto sent = world.send(list({result(call, "one"), result(call, "two")}));
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(sent[0].id, sent[1].id);
  EXPECT_THAT(world.ids("user.tool_result"), SizeIs(1));
}

TEST(Sessions, ResultsThatMakeNoSenseAreRefused) {
  World world(kCustom);
  world.fake.calls({bash(), {"weather", "{}"}});
  world.say("go");
  world.settle();
  auto calls = world.open_calls();
  ASSERT_THAT(calls, SizeIs(2));
  std::size_t before = world.events().size();
  EXPECT_THAT(world.refused(list({result("sevt_nobody")})), StartsWith("events[0]: names no"));
  EXPECT_THAT(world.refused(list({custom_result(calls[0])})), HasSubstr("send user.tool_result"));
  EXPECT_THAT(world.refused(list({result(calls[1])})), HasSubstr("send user.custom_tool_result"));
  EXPECT_THAT(world.refused(list({verdict(calls[0], "allow")})), HasSubstr("does not wait"));
  EXPECT_THAT(world.refused(list({verdict("sevt_nobody", "allow")})), HasSubstr("names no call"));
  // All or none: the first of these alone would have been fine.
  EXPECT_THAT(world.refused(list({result(calls[0]), result("sevt_nobody")})),
              StartsWith("events[1]"));
  EXPECT_EQ(world.events().size(), before);
  world.send(list({result(calls[0])}));
  EXPECT_THAT(world.refused(list({custom_result(calls[0])})), HasSubstr("send user.tool_result"));
}

TEST(Sessions, CustomToolsWaitForTheClient) {
  World world(kCustom);
  world.fake.calls({{"weather", R"({"city":"Paris"})"}});
  world.fake.text("It is sunny.");
  world.say("weather?");
  world.settle();
  EXPECT_EQ(world.queue.ensured, 1);  // no worker is wanted for it
  EXPECT_THAT(world.last("agent.custom_tool_use"),
              AllOf(HasSubstr(R"("input":{"city":"Paris"})"), Not(HasSubstr("evaluated"))));
  world.send(list({custom_result(world.open_calls()[0])}));
  world.settle();
  EXPECT_THAT(world.fake.requests[1], HasSubstr("sunny"));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

// --- Confirmations

TEST(Sessions, AHeldCallNeedsAVerdictFirst) {
  World world(kAsk);
  world.fake.calls({bash()});
  world.fake.text("Done.");
  world.say("go");
  world.settle();
  EXPECT_THAT(world.last("agent.tool_use"),
              HasSubstr(R"("evaluated_permission":"ask","evaluation":{"type":"always_ask"})"));
  EXPECT_EQ(world.queue.ensured, 1);
  std::string call = world.open_calls()[0];
  EXPECT_THAT(world.refused(list({result(call)})), HasSubstr("confirmation first"));
  std::int64_t before = world.events().back().seq;
  world.send(list({verdict(call, "allow")}));
  EXPECT_THAT(world.types_after(before), ElementsAre("user.tool_confirmation"));
  EXPECT_EQ(world.queue.ensured, 2);
  EXPECT_THAT(world.refused(list({verdict(call, "deny")})), HasSubstr("does not wait"));
  world.answer(call, "x");
  world.settle();
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  EXPECT_THAT(world.refused(list({verdict(call, "allow")})), HasSubstr("settled"));
}

TEST(Sessions, ADeniedCallIsClosedAndTheModelHearsWhy) {
  World world(kAsk);
  world.fake.calls({bash()});
  world.fake.text("Then not.");
  world.say("go");
  world.settle();
  std::string call = world.open_calls()[0];
  std::int64_t before = world.events().back().seq;
  world.send(str(R"([{"type":"user.tool_confirmation","tool_use_id":")", call,
                 R"(","result":"deny","deny_message":"too risky"}])"));
  EXPECT_THAT(world.types_after(before),
              ElementsAre("user.tool_confirmation", "agent.tool_result", "session.status_running",
                          "session.thread_status_running"));
  EXPECT_THAT(world.last("agent.tool_result"),
              AllOf(HasSubstr(R"("is_error":true)"), HasSubstr("too risky")));
  EXPECT_THAT(world.refused(list({result(call)})), HasSubstr("denied"));
  world.settle();
  EXPECT_THAT(world.fake.requests[1],
              AllOf(HasSubstr("too risky"), HasSubstr(R"("is_error":true)")));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Sessions, AutoAsksBecauseThereIsNoClassifier) {
  World world(agent_json(R"([{"type":"agent_toolset_20260401","configs":[{"name":"bash",)"
                         R"("permission_policy":{"type":"auto"}}]}])"));
  world.fake.calls({bash()});
  world.say("go");
  world.settle();
  EXPECT_THAT(world.last("agent.tool_use"),
              HasSubstr(R"("evaluated_permission":"ask","evaluation":{"type":"auto",)"
                        R"("evaluated_permission":{"type":"ask","reason_code":"indeterminate"}})"));
}

TEST(Sessions, ACallOfAToolThatIsNotThereIsAnsweredByTheBrain) {
  World world;
  world.fake.calls({{"teleport", "{}"}});
  world.fake.text("Sorry.");
  world.say("go");
  world.settle();
  EXPECT_THAT(world.last("agent.tool_use"), HasSubstr(R"("evaluated_permission":"deny")"));
  EXPECT_THAT(world.last("agent.tool_result"), HasSubstr("There is no tool named teleport."));
  EXPECT_THAT(world.fake.requests[1], HasSubstr("There is no tool named teleport."));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  EXPECT_EQ(world.queue.ensured, 1);
}

TEST(Sessions, OneRefusedAndOneGoodCallWaitForTheGoodOne) {
  World world;
  world.fake.calls({{"teleport", "{}"}, bash()});
  world.fake.text("Done.");
  world.say("go");
  world.settle();
  ASSERT_THAT(world.open_calls(), SizeIs(1));
  world.answer(world.open_calls()[0], "x");
  world.settle();
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Sessions, AModelThatCallsForNothingOverAndOverIsStopped) {
  World world;
  for (int i = 0; i < 100; ++i) world.fake.calls({{"teleport", "{}"}});
  world.say("go");
  world.settle();
  world.run_until([&] { return world.sessions->running() == 0; });
  EXPECT_THAT(world.fake.requests, SizeIs(50));
  EXPECT_THAT(world.last("session.error"), HasSubstr("tool_use_limit_reached_error"));
  EXPECT_EQ(world.row().stop_reason, "retries_exhausted");
}

// --- Interrupts

TEST(Sessions, AnInterruptCutsTheModelAtOnce) {
  World world;
  world.say("go");
  world.settle();
  EXPECT_THAT(world.fake.requests, SizeIs(1));
  std::int64_t before = world.events().back().seq;
  auto sent = world.send(list({kInterrupt}));
  EXPECT_GT(sent[0].processed_at, 0);
  EXPECT_THAT(world.types_after(before),
              ElementsAre("user.interrupt", "span.model_request_end", "session.usage",
                          "session.thread_status_idle", "session.status_idle"));
  world.settle();
  EXPECT_EQ(world.fake.cancelled, 1);
  EXPECT_EQ(world.types().back(), "session.status_idle");
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  world.fake.text("Hello again.");
  world.say("again");
  world.settle();
  EXPECT_THAT(world.fake.requests[1], HasSubstr("The user interrupted you here."));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Sessions, AnIdleSessionsLastEventIsThatItIsIdle) {
  World world;
  world.fake.text("Hello.");
  world.say("Hi");
  world.settle();
  world.send(list({kInterrupt}));
  EXPECT_EQ(world.types().back(), "session.status_idle");
  EXPECT_THAT(world.types(), testing::Contains("user.interrupt"));
}

TEST(Sessions, AnInterruptClosesOpenCallsAsTheUsersResults) {
  World world(kCustom);
  world.fake.calls({bash(), {"weather", "{}"}});
  world.say("go");
  world.settle();
  auto calls = world.open_calls();
  std::int64_t before = world.events().back().seq;
  world.send(list({kInterrupt}));
  EXPECT_THAT(world.types_after(before),
              ElementsAre("user.interrupt", "user.tool_result", "user.custom_tool_result",
                          "session.usage", "session.thread_status_idle", "session.status_idle"));
  EXPECT_THAT(world.last("user.tool_result"), HasSubstr(R"("is_error":true)"));
  std::size_t count = world.events().size();
  auto late = world.send(list({result(calls[0], "late")}));
  EXPECT_THAT(late[0].json, HasSubstr("interrupted"));
  EXPECT_EQ(world.events().size(), count);
  EXPECT_EQ(world.row().stop_reason, "end_turn");
}

TEST(Sessions, AnInterruptOfAnIdleSessionIsNothing) {
  World world;
  world.send(list({kInterrupt}));
  world.settle();
  EXPECT_THAT(world.types(), ElementsAre("user.interrupt"));
  EXPECT_THAT(world.refused(R"([{"type":"user.interrupt","session_thread_id":"sthr_x"}])"),
              HasSubstr("names no thread"));
}

TEST(Sessions, InterruptAndNewMessageInOneRequest) {
  World world;
  world.say("one");
  world.settle();
  world.fake.text("Two it is.");
  world.send(list({kInterrupt, message("two")}));
  world.settle();
  EXPECT_EQ(world.fake.cancelled, 1);
  ASSERT_THAT(world.fake.requests, SizeIs(2));
  EXPECT_THAT(world.fake.requests[1], HasSubstr("two"));
  EXPECT_EQ(world.types().back(), "session.status_idle");
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  EXPECT_EQ(world.sessions->running(), 0u);
}

// --- Messages that wait

TEST(Sessions, AMessageWaitsForTheTurnToEnd) {
  World world;
  world.fake.calls({bash()});
  world.say("one");
  world.settle();
  auto second = world.send(list({message("two")}));
  EXPECT_EQ(second[0].processed_at, 0);
  EXPECT_EQ(world.open_calls().size(), 1u);
  world.fake.text("First done.");
  world.fake.text("Second done.");
  world.answer(world.open_calls()[0], "x");
  EXPECT_THAT(render(world.events()[world.events().size() - 4]),
              HasSubstr(R"("processed_at":null)"));
  world.settle();
  ASSERT_THAT(world.fake.requests, SizeIs(3));
  EXPECT_THAT(world.fake.requests[1], Not(HasSubstr("two")));
  EXPECT_THAT(world.fake.requests[2], HasSubstr("two"));
  EXPECT_LT(world.fake.requests[2].find("First done."), world.fake.requests[2].find("two"));
  for (const Event& event : world.events()) EXPECT_NE(event.processed_at, 0) << event.json;
  EXPECT_THAT(world.ids("session.status_idle"), SizeIs(3));
}

TEST(Sessions, ASystemMessageGoesAlongWithItsMessageOrItsResult) {
  World world;
  const std::string system =
      R"({"type":"system.message","content":[{"type":"text","text":"Use French."}]})";
  world.fake.calls({bash()});
  world.send(list({message("one"), system}));
  world.settle();
  EXPECT_THAT(world.fake.requests[0], HasSubstr("Use French."));
  world.fake.text("Fini.");
  auto sent = world.send(list({result(world.open_calls()[0]), system}));
  EXPECT_NE(sent[1].processed_at, 0);
  world.settle();
  const std::string& request = world.fake.requests[1];
  EXPECT_NE(request.find("Use French."), request.rfind("Use French."));
  EXPECT_THAT(world.refused(list({system})), HasSubstr("follows a message"));
}

// --- The ends of a session

TEST(Sessions, ARunningSessionIsNeitherArchivedNorDeleted) {
  World world;
  world.say("go");
  world.settle();
  for (auto refused :
       {world.sessions->archive(world.id).error(), world.sessions->remove(world.id).error(),
        world.sessions->update(world.row(), {{"agent", nullptr}}).error()}) {
    EXPECT_EQ(refused.code, Code::invalid);
    EXPECT_THAT(refused.what, HasSubstr("user.interrupt first"));
  }
  world.send(list({kInterrupt}));
  auto archived = world.sessions->archive(world.id);
  ASSERT_TRUE(archived);
  EXPECT_EQ(archived->status, SessionStatus::terminated);
  EXPECT_GT(archived->archived_at, 0);
  EXPECT_EQ(world.types().back(), "session.status_terminated");
  EXPECT_EQ(world.queue.stopped, 1);
  EXPECT_THAT(world.refused(list({message("x")})), HasSubstr("terminated"));
  std::size_t before = world.events().size();
  ASSERT_TRUE(world.sessions->archive(world.id));
  EXPECT_EQ(world.events().size(), before);
  ASSERT_TRUE(world.sessions->remove(world.id));
  EXPECT_EQ(world.sqlite->session(world.id).error().code, Code::not_found);
}

TEST(Sessions, AnUpdateIsToldWithWhatChanged) {
  World world;
  SessionRow row = world.row();
  row.title = "new";
  row.status = SessionStatus::terminated;  // not for an update to touch
  ASSERT_TRUE(world.sessions->update(row, {{"title", "new"}}));
  EXPECT_EQ(world.row().title, "new");
  EXPECT_EQ(world.row().status, SessionStatus::idle);
  EXPECT_THAT(world.last("session.updated"), HasSubstr(R"("title":"new")"));
}

TEST(Sessions, AnUnknownSessionIsNotFound) {
  World world;
  auto sent =
      world.sessions->send("sesn_none", boost::json::parse(list({message("x")})).as_array());
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Code::not_found);
}

// --- The queue

TEST(Sessions, AnItemThatStopsWithCallsOpenIsQueuedAgainSomeTimes) {
  World world;
  world.fake.calls({bash()});
  world.say("go");
  world.settle();
  EXPECT_EQ(world.queue.ensured, 2);
  for (int i = 0; i < 5; ++i) {
    world.queue.on_stopped(world.id);
    world.settle();
  }
  EXPECT_EQ(world.queue.ensured, 4);  // the tests' options allow two
  world.say("are you there?");        // somebody is: it begins anew
  EXPECT_EQ(world.queue.ensured, 5);
  world.queue.on_stopped(world.id);
  world.settle();
  EXPECT_EQ(world.queue.ensured, 6);
}

TEST(Sessions, AnItemThatStopsWithNothingOpenIsLeftAlone) {
  World world(kAsk);
  world.queue.on_stopped("sesn_none");
  world.fake.calls({bash()});
  world.say("go");
  world.settle();
  world.queue.on_stopped(world.id);  // the call is held: no worker is wanted
  world.settle();
  EXPECT_EQ(world.queue.ensured, 1);
}

}  // namespace
}  // namespace glovebox::brain

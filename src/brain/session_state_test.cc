#include "brain/session_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glovebox::brain {
namespace {

// One event in short: "type members", members as they stand in JSON; ids are e1, e2, … by place.
struct Row {
  std::string type, members = {}, memo = {};
  bool waits = false;
};

const Row kRunning{"session.status_running", "", R"({"takes":["e1"]})"};
const Row kGoesOn{"session.status_running"};
const Row kMessage{"user.message", R"("content":[])"};
const Row kQueued{"user.message", R"("content":[])", "", true};
const Row kStart{"span.model_request_start"};
const Row kEnd{"span.model_request_end", R"("is_error":false)", R"({"content":[]})"};
const Row kFailed{"span.model_request_end", R"("is_error":true)"};
const Row kIdle{"session.status_idle", R"("stop_reason":{"type":"end_turn"})"};
const Row kNeeds{"session.status_idle",
                 R"("stop_reason":{"type":"requires_action","event_ids":[]})"};
Row call(std::string_view permission) {
  return {"agent.tool_use",
          str(R"("name":"bash","input":{},"evaluated_permission":")", permission, '"')};
}
const Row kCustom{"agent.custom_tool_use", R"("name":"weather","input":{})"};
Row result(std::string_view id) { return {"user.tool_result", str(R"("tool_use_id":")", id, '"')}; }
Row custom_result(std::string_view id) {
  return {"user.custom_tool_result", str(R"("custom_tool_use_id":")", id, '"')};
}
Row verdict(std::string_view id, std::string_view said) {
  return {"user.tool_confirmation", str(R"("tool_use_id":")", id, R"(","result":")", said, '"')};
}

std::vector<Event> events_of(const std::vector<Row>& rows) {
  std::vector<Event> events;
  for (const Row& row : rows) {
    std::string id = str('e', events.size() + 1);
    events.push_back({.seq = static_cast<std::int64_t>(events.size() + 1),
                      .id = id,
                      .type = row.type,
                      .processed_at = row.waits ? 0 : 1'000,
                      .json = str(R"({"type":")", row.type, R"(","id":")", id, '"',
                                  row.members.empty() ? "" : ",", row.members, '}'),
                      .memo = row.memo});
  }
  return events;
}

// "idle", "waiting: e4 worker bash", "running: request e2", …
std::string summary(const SessionState& state) {
  std::string text(name(state.phase));
  for (const OpenCall& call : state.open)
    text += str(" ", call.id,
                call.waits_for == WaitsFor::verdict  ? "?"
                : call.waits_for == WaitsFor::worker ? "!"
                                                     : "@");
  for (const QueuedMessage& message : state.queued) text += str(" +", message.id);
  if (!state.request.empty()) text += str(" asked ", state.request);
  if (state.thought) text += " thought";
  if (state.answers_alone) text += str(" alone ", state.answers_alone);
  return text;
}

struct Case {
  std::string name;
  std::vector<Row> rows;
  std::string expected;
};
class Fold : public testing::TestWithParam<Case> {};

TEST_P(Fold, IsWhatItMustBe) {
  SessionState state;
  for (const Event& event : events_of(GetParam().rows)) state.apply(event);
  EXPECT_EQ(summary(state), GetParam().expected);
  EXPECT_EQ(state.last_seq, static_cast<std::int64_t>(GetParam().rows.size()));
}

INSTANTIATE_TEST_SUITE_P(
    SessionState, Fold,
    testing::Values(
        Case{"nothing", {}, "idle"}, Case{"message_that_waits", {kQueued}, "idle +e1"},
        Case{"turn_begun", {kMessage, kRunning}, "running"},
        Case{"asked", {kMessage, kRunning, kStart}, "running asked e3"},
        Case{"thinking",
             {kMessage, kRunning, kStart, {"agent.thinking"}},
             "running asked e3 thought"},
        Case{"thought_survives_a_failed_request",
             {kMessage, kRunning, kStart, {"agent.thinking"}, kFailed},
             "running thought"},
        Case{"answered", {kMessage, kRunning, kStart, {"agent.thinking"}, kEnd}, "running alone 1"},
        Case{"ended", {kMessage, kRunning, kStart, kEnd, kIdle}, "idle"},
        Case{"next_turn_begins_anew",
             {kMessage, kRunning, kStart, kEnd, kIdle, kMessage, kRunning},
             "running"},
        Case{
            "message_during_a_turn", {kMessage, kRunning, kStart, kQueued}, "running +e4 asked e3"},
        Case{"calls_of_all_kinds",
             {kMessage, kRunning, kStart, call("allow"), call("ask"), kCustom, call("deny"), kEnd,
              kNeeds},
             "waiting e4! e5? e6@ alone 1"},
        Case{"unknown_permission_is_held",
             {kMessage, kRunning, kStart, call("maybe"), kEnd, kNeeds},
             "waiting e4? alone 1"},
        Case{"no_permission_is_allowed",
             {kMessage, kRunning, kStart, {"agent.tool_use", R"("name":"x")"}, kEnd, kNeeds},
             "waiting e4! alone 1"},
        Case{"allowed",
             {kRunning, kStart, call("ask"), kEnd, kNeeds, verdict("e3", "allow")},
             "waiting e3!"},
        Case{"denied",
             {kRunning, kStart, call("ask"), kEnd, kNeeds, verdict("e3", "deny")},
             "waiting"},
        Case{"result", {kRunning, kStart, call("allow"), kEnd, kNeeds, result("e3")}, "waiting"},
        Case{"custom_result",
             {kRunning, kStart, kCustom, kEnd, kNeeds, custom_result("e3")},
             "waiting"},
        Case{"second_result_is_nothing",
             {kRunning, kStart, call("allow"), kEnd, kNeeds, result("e3"), result("e3")},
             "waiting"},
        Case{"result_of_nothing", {kRunning, result("e9")}, "running"},
        Case{"the_brains_own_result_answers_nobody",
             {kRunning,
              kStart,
              call("allow"),
              kEnd,
              kNeeds,
              {"agent.tool_result", R"("tool_use_id":"e3")"}},
             "waiting e3! alone 1"},
        Case{"goes_on",
             {kRunning, kStart, call("allow"), kEnd, kNeeds, result("e3"), kGoesOn},
             "running"},
        Case{"goes_on_alone", {kRunning, kStart, kEnd, kGoesOn, kStart, kEnd}, "running alone 2"},
        Case{"rescheduled",
             {kRunning, kStart, {"session.status_rescheduled"}},
             "rescheduling asked e2"},
        Case{"running_again",
             {kRunning, kStart, {"session.status_rescheduled"}, kGoesOn},
             "running asked e2"},
        Case{"interrupted",
             {kMessage, kRunning, kStart, {"user.interrupt"}, kFailed, kIdle},
             "idle"},
        Case{"archived", {kMessage, {"session.status_terminated"}}, "terminated"},
        Case{"system_message_waits_but_starts_nothing",
             {{"system.message", "", "", true}},
             "idle +e1"},
        Case{"news_of_tomorrow", {{"user.teleport"}, {"agent.dream"}, kMessage}, "idle"}),
    [](const auto& info) { return info.param.name; });

TEST(SessionState, OnlyAMessageStartsATurn) {
  SessionState state;
  for (const Event& event : events_of({{"system.message", "", "", true}})) state.apply(event);
  EXPECT_FALSE(state.has_next_turn());
  for (const Event& event : events_of({kQueued})) state.apply(event);
  EXPECT_TRUE(state.has_next_turn());
}

TEST(SessionState, EventsThatAreNoJsonMoveNothingAndBreakNothing) {
  SessionState state;
  for (std::string type : {"session.status_idle", "agent.tool_use", "user.tool_result",
                           "user.custom_tool_result", "user.tool_confirmation"})
    for (std::string json : {"", "{", "[]", "null", R"({"stop_reason":7,"tool_use_id":{}})"})
      state.apply({.seq = 1, .id = "e", .type = type, .processed_at = 1, .json = json});
  EXPECT_EQ(state.phase, Phase::idle);
}

}  // namespace
}  // namespace glovebox::brain

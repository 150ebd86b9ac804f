// What comes from the service, what goes to it: without a connection.
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "runner/event.h"
#include "runner/result.h"
#include "runner/retry.h"
#include "runner/work.h"

namespace glovebox::runner {
namespace {

namespace json = boost::json;

std::string base64(std::string_view text, bool url_safe, bool padded) {
  std::string out = base64url(text);
  if (padded)
    while (out.size() % 4) out += '=';
  if (!url_safe)
    for (char& c : out) c = c == '-' ? '+' : c == '_' ? '/' : c;
  return out;
}

TEST(Secret, TokenIsFoundInEveryAlphabetAndPadding) {
  const std::string token = "sk-ant-req-\xc3\xbf\xc3\xbe?_?>>";
  const std::string payload = str(R"({"sessions_token":")", token, R"(","api_base_url":"x"})");
  for (bool url_safe : {true, false})
    for (bool padded : {true, false})
      EXPECT_TRUE(sessions_token(base64(payload, url_safe, padded)).equals(token));
}

TEST(Secret, WhatHoldsNoTokenIsNoSecret) {
  EXPECT_TRUE(sessions_token("").empty());
  EXPECT_TRUE(sessions_token("%%%").empty());
  EXPECT_TRUE(sessions_token("AAAAA").empty());
  for (std::string payload : {"", "null", "[]", "\"x\"", "{}", R"({"sessions_token":""})",
                              R"({"sessions_token":7})", R"({"sessions_token":"x")", "\xff\xff"})
    EXPECT_TRUE(sessions_token(base64url(payload)).empty()) << payload;
}

TEST(Work, NothingToDoHasManyForms) {
  for (std::string body : {"", " \n", "null", "{}", R"({"id":""})"}) {
    auto work = decode_work(body);
    ASSERT_TRUE(work) << body;
    EXPECT_FALSE(*work) << body;
  }
  EXPECT_FALSE(decode_work("{"));
  EXPECT_FALSE(decode_work("[]"));
}

TEST(Work, ItemsSayWhatTheyAreFor) {
  auto work = decode_work(
      R"({"id":"work_1","environment_id":"env_1","state":"queued","data":{"type":"session","id":"sesn_1"},"secret":null,"more":1})");
  ASSERT_TRUE(work && *work);
  EXPECT_EQ((*work)->id, "work_1");
  EXPECT_EQ((*work)->environment_id, "env_1");
  EXPECT_EQ((*work)->kind, "session");
  EXPECT_EQ((*work)->session_id, "sesn_1");
  EXPECT_TRUE((*work)->token.empty());

  auto check = decode_work(R"({"id":"work_2","data":{"id":"x"}})");
  ASSERT_TRUE(check && *check);
  EXPECT_EQ((*check)->kind, "healthcheck");
  EXPECT_EQ((*check)->session_id, "");
}

TEST(Beat, RefusedOnesTellTheLeaseAsItIs) {
  Beat beat = decode_refused_beat(
      R"({"type":"error","error":{"type":"x","message":"m","details":{"error_code":"heartbeat_precondition_failed","current_state":{"state":"active","last_heartbeat":"t9","lease_extended":false,"ttl_seconds":300}}}})");
  EXPECT_FALSE(beat.accepted);
  EXPECT_EQ(beat.last_heartbeat, "t9");
  EXPECT_EQ(beat.state, "active");
  EXPECT_EQ(beat.ttl_seconds, 300);
  for (std::string body : {"", "null", "{}", R"({"error":[]})", R"({"error":{"details":null}})"}) {
    Beat empty = decode_refused_beat(body);
    EXPECT_FALSE(empty.accepted);
    EXPECT_EQ(empty.last_heartbeat, "");
  }
}

TEST(Event, PermissionsThatAreNoTextAreNotAbsent) {
  auto absent = decode_event(R"({"type":"agent.tool_use","id":"a","name":"bash","input":{}})");
  ASSERT_TRUE(absent);
  EXPECT_FALSE(absent->permission);
  auto null = decode_event(R"({"type":"agent.tool_use","id":"a","evaluated_permission":null})");
  EXPECT_FALSE(null->permission);
  auto odd = decode_event(R"({"type":"agent.tool_use","id":"a","evaluated_permission":7})");
  EXPECT_EQ(odd->permission, "");
}

TEST(Event, OnlyRequiresActionLeavesATurnOpen) {
  for (auto [reason, ends] : {std::pair{R"({"type":"end_turn"})", true},
                              {R"({"type":"requires_action","event_ids":[]})", false},
                              {R"({"type":"refusal"})", true},
                              {R"({"type":"of_the_future"})", true},
                              {"null", true}}) {
    auto event = decode_event(str(R"({"type":"session.status_idle","stop_reason":)", reason, "}"));
    ASSERT_TRUE(event);
    EXPECT_EQ(event->ends_turn, ends) << reason;
  }
}

TEST(Event, DeepInputsAreRead) {
  std::string input;
  for (int i = 0; i < 300; ++i) input += R"({"a":)";
  input += "1" + std::string(300, '}');
  auto event = decode_event(str(R"({"type":"agent.tool_use","id":"a","input":)", input, "}"));
  ASSERT_TRUE(event);
  EXPECT_EQ(event->input, input);
}

TEST(Event, NumbersBeyondEveryDoubleStayJson) {
  auto event = decode_event(R"({"type":"agent.tool_use","id":"a","input":{"n":[2e308,1]}})");
  ASSERT_TRUE(event);
  EXPECT_EQ(event->input, R"({"n":[null,1]})");
}

TEST(Event, CustomResultsNameTheirCallInTheirOwnMember) {
  EXPECT_EQ(decode_event(R"({"type":"user.custom_tool_result","custom_tool_use_id":"a"})")->call,
            "a");
  EXPECT_EQ(decode_event(R"({"type":"user.tool_result","tool_use_id":"b"})")->call, "b");
  EXPECT_EQ(decode_event(R"({"type":"agent.tool_result","tool_use_id":"c"})")->call, "c");
  EXPECT_EQ(decode_event(R"({"type":"user.tool_result","tool_use_id":5})")->call, "");
}

TEST(Events, PagesEndWhereTheCursorIsEmpty) {
  for (std::string next : {"null", "\"\"", "7"})
    EXPECT_EQ(decode_events(str(R"({"data":[],"next_page":)", next, "}"))->next, "");
  auto page = decode_events(R"({"data":[{"type":"agent.message"},3,null],"next_page":"c1"})");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->next, "c1");
  EXPECT_EQ(page->events.size(), 3u);
  EXPECT_FALSE(decode_events("{}"));
}

// ---- results

Event call(bool custom = false) {
  Event event;
  event.id = "sevt_1";
  event.custom = custom;
  return event;
}

json::value content(std::string content) {
  auto event = json::parse(result_event(call(), {std::move(content), false}));
  return event.at("content");
}

TEST(Result, EachKindOfCallHasItsOwnEvent) {
  EXPECT_EQ(
      result_event(call(), {R"("x")", false}),
      R"({"type":"user.tool_result","tool_use_id":"sevt_1","is_error":false,"content":[{"type":"text","text":"x"}]})");
  EXPECT_EQ(
      result_event(call(true), {R"("x")", true}),
      R"({"type":"user.custom_tool_result","custom_tool_use_id":"sevt_1","is_error":true,"content":[{"type":"text","text":"x"}]})");
}

TEST(Result, IsNeverEmpty) {
  const json::value nothing = json::parse(R"x([{"type":"text","text":"(no output)"}])x");
  for (std::string empty :
       {R"("")", "[]", R"([{"type":"text","text":""}])", R"([{"type":"text"}])", "", "null"})
    EXPECT_EQ(content(empty), nothing) << empty;
}

TEST(Result, BlocksTheServiceKnowsPassAndOthersBecomeText) {
  EXPECT_EQ(
      json::serialize(content(
          R"([{"type":"image","source":{"type":"base64","data":"AA=="}},{"type":"image"},{"type":"audio","x":1},5,"s"])")),
      R"([{"type":"image","source":{"type":"base64","data":"AA=="}},{"type":"text","text":"{\"type\":\"image\"}"},{"type":"text","text":"{\"type\":\"audio\",\"x\":1}"},{"type":"text","text":"5"},{"type":"text","text":"\"s\""}])");
  EXPECT_EQ(
      json::serialize(content(
          R"([{"type":"search_result","source":"u","title":"t","content":[{"type":"text","text":"c"}]}])")),
      R"([{"type":"search_result","source":"u","title":"t","content":[{"type":"text","text":"c"}],"citations":{"enabled":false}}])");
}

TEST(Result, WhatIsNoJsonIsStillAnAnswer) {
  EXPECT_EQ(content("plain \xff text"),
            json::parse("[{\"type\":\"text\",\"text\":\"plain \xef\xbf\xbd text\"}]"));
}

// ---- retries

TEST(Retry, FollowsTheCoreClientsTable) {
  for (auto [status, header, again] : {std::tuple{408, "", true},
                                       {409, "", true},
                                       {429, "", true},
                                       {500, "", true},
                                       {529, "", true},
                                       {400, "", false},
                                       {401, "", false},
                                       {412, "", false},
                                       {409, "false", false},
                                       {500, "false", false},
                                       {400, "true", true}}) {
    http::Headers headers;
    if (*header) headers.set("x-should-retry", header);
    EXPECT_EQ(worth_retrying(status, headers), again) << status << header;
  }
}

TEST(Retry, WaitsAsLongAsTheAnswerAsks) {
  auto wait = [](std::string ms, std::string seconds) {
    http::Headers headers;
    if (!ms.empty()) headers.set("retry-after-ms", ms);
    if (!seconds.empty()) headers.set("retry-after", seconds);
    return asked_wait(headers, 1'792'000'000'000);  // 2026-10-14T17:46:40Z
  };
  EXPECT_EQ(wait("250", "9"), 250ms);
  EXPECT_EQ(wait("", "1.5"), 1500ms);
  EXPECT_EQ(wait("x", "2"), 2000ms);
  EXPECT_EQ(wait("", "Wed, 14 Oct 2026 17:46:45 GMT"), 5000ms);
  EXPECT_EQ(wait("", "Wed, 14 Oct 2026 17:46:35 GMT"), std::nullopt);
  EXPECT_EQ(wait("", "0"), std::nullopt);
  EXPECT_EQ(wait("", "-3"), std::nullopt);
  EXPECT_EQ(wait("", "99999999"), std::nullopt);
  EXPECT_EQ(wait("", "soon"), std::nullopt);
  EXPECT_EQ(wait("", ""), std::nullopt);
}

TEST(EventJson, HalfACharacterInACallHidesNoPageOfHistory) {
  auto page = decode_events(
      R"({"data":[{"id":"e1","type":"agent.tool_use","name":"bash","input":{"command":"echo \ud83d"}}],"next_page":null})");
  ASSERT_TRUE(page) << page.error().what;
  EXPECT_EQ(page->events.at(0).input, "{\"command\":\"echo \xef\xbf\xbd\"}");
}

TEST(Retry, BackOffDoublesUpToItsCapAndJitterOnlyShortens) {
  EXPECT_EQ(doubled(500ms, 0, 8s), 500ms);
  EXPECT_EQ(doubled(500ms, 2, 8s), 2s);
  EXPECT_EQ(doubled(500ms, 50, 8s), 8s);
  for (int i = 0; i < 100; ++i) {
    Millis wait = jittered(1000ms);
    EXPECT_GE(wait, 750ms);
    EXPECT_LE(wait, 1000ms);
  }
}

}  // namespace
}  // namespace glovebox::runner

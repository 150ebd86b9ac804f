#include "brain/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "brain/conversation_trim.h"
#include "brain/model.h"

namespace glovebox::brain {
namespace {

namespace json = boost::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

Agent agent(const std::string& more = "") {
  auto parsed = Agent::parse(str(
      R"({"name":"a","model":{"id":"m"},"tools":[{"type":"agent_toolset_20260401"}])", more, "}"));
  EXPECT_TRUE(parsed);
  return *parsed;
}

// A log, built like a real one.
struct Log {
  std::vector<Event> events;
  std::string add(std::string type, const std::string& members = "", std::string memo = "") {
    std::string id = str("sevt_", events.size() + 1);
    events.push_back({.seq = static_cast<std::int64_t>(events.size() + 1),
                      .id = id,
                      .type = type,
                      .processed_at = 1,
                      .json = str(R"({"type":")", type, R"(","id":")", id, '"',
                                  members.empty() ? "" : ",", members, '}'),
                      .memo = std::move(memo)});
    return id;
  }
  std::string message(const std::string& text, const std::string& type = "user.message",
                      std::string memo = "") {
    return add(type, str(R"("content":[{"type":"text","text":")", text, R"("}])"), std::move(memo));
  }
  void run(std::vector<std::string> takes = {}) {
    add("session.status_running", "", takes.empty() ? "" : takes_memo(takes));
  }
  void ask(const std::string& text) { run({message(text)}); }
  void answer(const std::string& blocks, const std::string& stop_reason = "end_turn") {
    add("span.model_request_end", "", answer_memo("[" + blocks + "]", stop_reason));
  }
  void result(const std::string& call, const std::string& text, bool failed = false,
              const std::string& type = "user.tool_result") {
    add(type, str('"', type == "user.custom_tool_result" ? "custom_tool_use_id" : "tool_use_id",
                  "\":\"", call, R"(","is_error":)", failed,
                  R"(,"content":[{"type":"text","text":")", text, R"("}])"));
  }
  void idle(const std::string& reason = "end_turn") {
    add("session.status_idle", str(R"("stop_reason":{"type":")", reason, "\"}"));
  }
  json::object request(RequestLimits limits = {}, const Agent& of = agent()) const {
    Conversation talk;
    for (const Event& event : events) talk.add(event);
    EXPECT_EQ(talk.last_seq(), static_cast<std::int64_t>(events.size()));
    auto made = talk.request(of, limits);
    EXPECT_TRUE(made) << made.error().what;
    return made ? json::parse(*made).as_object() : json::object();
  }
  // "user: hi | assistant: {call c1} …", without cache marks
  std::string told(RequestLimits limits = {}) const {
    std::string all;
    for (const json::value& message : request(limits).at("messages").as_array()) {
      all += str(all.empty() ? "" : " | ", std::string_view(message.at("role").as_string()), ":");
      for (const json::value& block : message.at("content").as_array()) {
        std::string type(block.at("type").as_string());
        if (type == "text")
          all += str(' ', std::string_view(block.at("text").as_string()));
        else if (type == "tool_use")
          all += str(" {", std::string_view(block.at("id").as_string()), '}');
        else if (type == "tool_result")
          all += str(" [", std::string_view(block.at("tool_use_id").as_string()),
                     block.as_object().contains("is_error") ? "!" : "=",
                     std::string_view(block.at("content").at(0).at("text").as_string()), ']');
        else
          all += str(" <", type, '>');
      }
    }
    return all;
  }
};

std::string text(const std::string& words) {
  return str(R"({"type":"text","text":")", words, "\"}");
}
std::string call(const std::string& id) {
  return str(R"({"type":"tool_use","id":")", id, R"(","name":"bash","input":{"command":"ls"}})");
}

TEST(Conversation, WhatFitsIsWrittenAsItWouldBeTrimmed) {
  Log log;
  log.ask("one");
  log.answer(str(R"({"type":"thinking","thinking":"\u00e9","signature":"s"},)", call("c1")),
             "tool_use");
  log.result("c1", "a \\\"b\\\"");
  log.answer(text("1"));
  log.idle();
  for (bool paused : {false, true}) {
    if (paused) {
      log.ask("two");
      log.answer(text("2"), "pause_turn");
    }
    auto made = log.request(), parts = log.request({.harder = 1});
    EXPECT_EQ(json::serialize(made), json::serialize(parts));
    EXPECT_EQ(made.at("messages").as_array().size(), paused ? 6u : 5u);
  }
}

// --- Order

TEST(Conversation, QuestionsAndAnswersAlternate) {
  Log log;
  log.ask("one");
  log.answer(text("1"));
  log.idle();
  log.ask("two");
  EXPECT_EQ(log.told(), "user: one | assistant: 1 | user: two");
}

TEST(Conversation, ResultsComeInTheOrderOfTheirCalls) {
  Log log;
  log.ask("go");
  log.answer(text("ok") + "," + call("a") + "," + call("b") + "," + call("c"), "tool_use");
  log.idle("requires_action");
  log.result("c", "3", false, "user.custom_tool_result");
  log.result("a", "1");
  log.result("b", "denied", true, "agent.tool_result");
  log.run();
  EXPECT_EQ(log.told(), "user: go | assistant: ok {a} {b} {c} | user: [a=1] [b!denied] [c=3]");
}

TEST(Conversation, AMessageStandsWhereItWasTakenUp) {
  Log log;
  log.ask("one");
  log.answer(call("a"), "tool_use");
  log.idle("requires_action");
  std::string second = log.message("two");  // came while the first turn was not over
  log.result("a", "1");
  log.run();
  log.answer(text("done"));
  log.idle();
  EXPECT_THAT(log.told(), Not(HasSubstr("two")));
  log.run({second});
  EXPECT_EQ(log.told(), "user: one | assistant: {a} | user: [a=1] | assistant: done | user: two");
}

TEST(Conversation, ACallWithoutAResultIsGivenOne) {
  Log log;
  log.ask("go");
  log.answer(call("a") + "," + call("b"), "tool_use");
  log.result("b", "2");
  log.run();
  EXPECT_EQ(log.told(), "user: go | assistant: {a} {b} | user: [a!(no output)] [b=2]");
}

TEST(Conversation, TheSecondResultOfACallIsNotHeard) {
  Log log;
  log.ask("go");
  log.answer(call("a"), "tool_use");
  log.result("a", "first");
  log.result("a", "second");
  EXPECT_EQ(log.told(), "user: go | assistant: {a} | user: [a=first]");
}

TEST(Conversation, AnInterruptIsMentionedWhereItChangedSomething) {
  Log log;
  log.add("user.interrupt");
  log.ask("one");
  log.add("user.interrupt");
  log.add("span.model_request_end", R"("is_error":true)");
  log.idle();
  log.ask("two");
  EXPECT_EQ(log.told(), "user: one [The user interrupted you here.] two");
}

TEST(Conversation, SystemMessagesStandWithWhatTheyCameWith) {
  Log log;
  std::string message = log.message("one");
  log.run({message, log.message("brief", "system.message")});
  log.answer(call("a"), "tool_use");
  log.result("a", "1");
  log.message("briefer", "system.message", std::string(kStandsHere));
  log.run();
  EXPECT_EQ(log.told(),
            "user: one <system_message>\nbrief\n</system_message> | assistant: {a} | user: [a=1] "
            "<system_message>\nbriefer\n</system_message>");
}

TEST(Conversation, AnswersThatSaidNothingNeverWere) {
  Log log;
  log.ask("one");
  log.answer("");
  log.idle();
  log.ask("two");
  log.answer(text(" \\n"));
  log.idle();
  log.ask("three");
  EXPECT_EQ(log.told(), "user: one two three");
}

TEST(Conversation, WhatWasCutOffIsAskedToGoOnAndWhatWasPausedIsNot) {
  Log cut;
  cut.ask("one");
  cut.answer(text("half"), "max_tokens");
  EXPECT_THAT(cut.told(), HasSubstr("assistant: half | user: [Your last answer was cut off"));
  Log paused;
  paused.ask("one");
  paused.answer(text("a"), "pause_turn");
  EXPECT_EQ(paused.told(), "user: one | assistant: a");
  paused.answer(text("b"), "end_turn");
  paused.idle();
  paused.ask("two");
  EXPECT_EQ(paused.told(), "user: one | assistant: a b | user: two");
}

TEST(Conversation, ThinkingIsHandedBackOnlyWithItsSignature) {
  Log log;
  log.ask("one");
  log.answer(
      R"({"type":"thinking","thinking":"x","signature":"s"},{"type":"thinking","thinking":"y"},)" +
      text("1"));
  EXPECT_THAT(log.told(), HasSubstr("assistant: <thinking> 1"));
}

TEST(Conversation, AnAnswerThatIsOnlyAThoughtWasNone) {
  Log log;
  log.ask("one");
  log.answer(R"({"type":"thinking","thinking":"x","signature":"s"})", "max_tokens");
  EXPECT_EQ(log.told(), "user: one");
}

TEST(Conversation, ItMayBeAskedBetweenAnyTwoEvents) {
  Log log;
  log.ask("one");
  log.answer(text("half"), "max_tokens");
  log.answer(call("a"), "tool_use");
  log.result("a", "1");
  log.add("user.interrupt");
  log.idle();
  log.ask("two");
  Conversation talk;
  for (const Event& event : log.events) {
    talk.add(event);
    (void)talk.request(agent(), {});
  }
  EXPECT_EQ(json::parse(*talk.request(agent(), {})), json::value(log.request()));
}

TEST(Conversation, NothingToAskIsAnError) {
  EXPECT_FALSE(Conversation().request(agent(), {}));
  EXPECT_FALSE(Agent::parse("not json"));
}

// --- What stands around it

TEST(Conversation, ModelSystemAndToolsAreTheAgents) {
  Log log;
  log.ask("hi");
  auto parsed = Agent::parse(
      R"({"system":"Be brief.","model":{"id":"claude-x","effort":{"type":"low"},"speed":"fast"},)"
      R"("tools":[{"type":"agent_toolset_20260401","default_config":{"enabled":false},)"
      R"("configs":[{"name":"bash","enabled":true},{"name":"web_search","enabled":true}]},)"
      R"({"type":"custom","name":"weather","description":"w","input_schema":{"type":"object","x":1}},)"
      R"({"type":"mcp_toolset","mcp_server_name":"s"}]})");
  ASSERT_TRUE(parsed);
  json::object request = log.request({.max_tokens = 99}, *parsed);
  EXPECT_EQ(request.at("model").as_string(), "claude-x");
  EXPECT_EQ(request.at("max_tokens").as_int64(), 99);
  EXPECT_EQ(request.at("output_config"), json::parse(R"({"effort":"low"})"));
  EXPECT_EQ(request.at("speed").as_string(), "fast");
  EXPECT_EQ(request.at("system").at(0).at("text").as_string(), "Be brief.");
  const json::array& tools = request.at("tools").as_array();
  ASSERT_THAT(tools, SizeIs(2));
  EXPECT_EQ(tools[0].at("name").as_string(), "bash");
  EXPECT_EQ(tools[1].at("input_schema"), json::parse(R"({"type":"object","x":1})"));
  EXPECT_FALSE(request.contains("stream"));
}

TEST(Conversation, AFastRequestSaysSoFirst) {
  Log log;
  log.ask("hi");
  Conversation talk;
  for (const Event& event : log.events) talk.add(event);
  auto fast = talk.request(*Agent::parse(R"({"model":{"id":"m","speed":"fast"}})"), {});
  ASSERT_TRUE(fast);
  EXPECT_TRUE(fast->starts_with(kFastRequest)) << *fast;
}

TEST(Conversation, AnAgentWithoutAnythingGivesAPlainRequest) {
  Log log;
  log.ask("hi");
  json::object request = log.request({}, *Agent::parse(R"({"model":"m"})"));
  for (auto key : {"system", "tools", "output_config", "speed"})
    EXPECT_FALSE(request.contains(key));
}

TEST(Conversation, TheSixToolsHaveTheSchemasOfTheWorker) {
  json::array tools = json::parse(agent().offered).as_array();
  std::vector<std::string> names;
  for (const json::value& tool : tools) {
    names.emplace_back(tool.at("name").as_string());
    EXPECT_GT(tool.at("description").as_string().size(), 50u);
    EXPECT_EQ(tool.at("input_schema").at("type").as_string(), "object");
  }
  EXPECT_THAT(names, testing::ElementsAre("bash", "read", "write", "edit", "glob", "grep"));
}

TEST(Conversation, TheCacheIsMarkedAtSystemToolsAndTheLastUserBlock) {
  Log log;
  log.ask("one");
  log.answer(text("1"));
  log.idle();
  log.ask("two");
  json::object request = log.request({}, agent(R"(,"system":"s")"));
  EXPECT_TRUE(request.at("system").at(0).as_object().contains("cache_control"));
  EXPECT_TRUE(request.at("tools").as_array().back().as_object().contains("cache_control"));
  std::string messages = json::serialize(request.at("messages"));
  EXPECT_EQ(messages.find("cache_control"), messages.rfind("cache_control"));
  EXPECT_TRUE(request.at("messages")
                  .as_array()
                  .back()
                  .at("content")
                  .as_array()
                  .back()
                  .as_object()
                  .contains("cache_control"));
}

TEST(Conversation, ImagesAreHandedOnAndErrorsAreTextAlone) {
  const std::string image =
      R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}})";
  Log log;
  log.run({log.add("user.message", str(R"("content":[)", image, "]"))});
  log.answer(call("a") + "," + call("b"), "tool_use");
  log.add("user.tool_result", str(R"("tool_use_id":"a","content":[)", image, "]"));
  log.add("user.tool_result", str(R"("tool_use_id":"b","is_error":true,"content":[)", image, "]"));
  json::object request = log.request();
  const json::array& messages = request.at("messages").as_array();
  EXPECT_EQ(messages[0].at("content").at(0), json::parse(image));
  EXPECT_EQ(messages[2].at("content").at(0).at("content").at(0), json::parse(image));
  EXPECT_EQ(messages[2].at("content").at(1).at("content").at(0),
            json::parse(text("[image left out]")));
}

TEST(Conversation, NulNeverReachesTheModel) {
  Log log;
  log.ask("a\\u0000b");
  EXPECT_EQ(log.told(),
            "user: a\xef\xbf\xbd"
            "b");
}

// --- Room

TEST(Conversation, WhatItKeepsIsCountedAsItIsKept) {
  const std::string image =
      str(R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":")",
          std::string(1'000'000, 'A'), R"("}})");
  Log log;
  Conversation talk;
  auto bytes = [&] {
    for (auto seq = talk.last_seq(); seq < static_cast<std::int64_t>(log.events.size()); ++seq)
      talk.add(log.events[static_cast<std::size_t>(seq)]);
    return talk.bytes();
  };
  EXPECT_LT(bytes(), 1'000u);
  log.message(std::string(50'000, 'x'));  // waits
  EXPECT_GT(bytes(), 50'000u);
  log.ask("go");
  log.answer(call("a") + "," + call("b"), "tool_use");
  log.add("user.tool_result", str(R"("tool_use_id":"a","content":[)", image, "]"));
  EXPECT_GT(bytes(), 1'000'000u);
  log.result("b", std::string(3'000'000, 'x'));  // of which only the ends are kept
  EXPECT_LT(bytes(), 1'500'000u);
  log.answer(text("Done."));
  EXPECT_GT(bytes(), 1'000'000u);
  EXPECT_GT(talk.read(), 4'000'000u);
}

TEST(Conversation, ALongResultKeepsItsTwoEnds) {
  Log log;
  log.ask("go");
  log.answer(call("a"), "tool_use");
  log.result("a", "BEGIN" + std::string(300'000, 'x') + "END");
  std::string told = log.told();
  EXPECT_LT(told.size(), 101'000u);
  EXPECT_THAT(told, AllOf(HasSubstr("[a=BEGINxxx"), HasSubstr("xxxEND]"),
                          HasSubstr("200008 of 300008 characters left out")));
}

TEST(Conversation, AResultIsCutBetweenCharacters) {
  json::array content{json::object{{"type", "text"}, {"text", ""}}};
  std::string umlauts;
  for (int i = 0; i < 1'000; ++i) umlauts += "ü";
  content[0].as_object()["text"] = umlauts;
  shorten_result(content, 100);
  std::string cut(content[0].at("text").as_string());
  EXPECT_EQ(valid_utf8(cut), cut);
  EXPECT_THAT(cut, HasSubstr("900 of 1000 characters left out"));
  content[0].as_object()["text"] = umlauts;
  shorten_result(content, 1'000);  // characters, not bytes
  EXPECT_EQ(content[0].at("text").as_string(), umlauts);
}

Log long_log(int turns, std::size_t each) {
  Log log;
  for (int i = 0; i < turns; ++i) {
    log.ask(str("question ", i));
    log.answer(call(str("c", i)), "tool_use");
    log.result(str("c", i), str("out ", i, ' ', std::string(each, 'x')));
    log.run();
    log.answer(text(str("answer ", i)));
    log.idle();
  }
  log.ask("last");
  return log;
}

TEST(Conversation, OldResultsGoFirstWhenRoomIsShort) {
  Log log = long_log(20, 10'000);  // some 3,000 tokens each
  std::string all = log.told(), some = log.told({.context_tokens = 40'000});
  EXPECT_THAT(all, HasSubstr("[c0=out 0"));
  EXPECT_THAT(some, AllOf(HasSubstr("[c0=[An old tool result, left out"), HasSubstr("[c19=out 19"),
                          HasSubstr("question 0"), HasSubstr("answer 0")));
  EXPECT_LE(estimate_tokens(some), 40'000);
}

TEST(Conversation, WhatIsLeftOutChangesInBigSteps) {
  // The next requests begin as this one did: otherwise the prompt cache would never be hit.
  int changes = 0;
  std::string before;
  for (int turns = 20; turns < 40; ++turns) {
    std::string told = long_log(turns, 10'000).told({.context_tokens = 40'000});
    told.resize(told.rfind(" last"));
    if (!before.empty() && !told.starts_with(before.substr(0, before.size() / 2))) ++changes;
    before = told;
  }
  EXPECT_LE(changes, 8);
}

TEST(Conversation, TheInputOfACallMayLookLikeAnything) {
  Log log;
  log.ask("hi");
  log.answer(R"({"type":"tool_use","id":"c1","name":"bash","input":{"source":{"type":"base64"}}},)"
             R"({"type":"tool_result"})",
             "tool_use");
  log.result("c1", "done");
  for (int harder : {0, 3}) EXPECT_FALSE(log.request({.harder = harder}).empty());
}

TEST(Conversation, HarderTrimmingAlwaysGivesLess) {
  Log log = long_log(5, 50'000);
  std::size_t size = log.told().size();
  for (int harder = 1; harder <= kHardest; ++harder) {
    std::size_t less = log.told({.harder = harder}).size();
    EXPECT_LT(less, size) << harder;
    size = less;
  }
  EXPECT_LT(size, 20'000u);
}

TEST(Conversation, OldImagesGoToo) {
  Log log;
  std::string data(400'000, 'A');
  for (int i = 0; i < 3; ++i) {
    log.run({log.add(
        "user.message",
        str(R"("content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":")",
            data, R"("}}])"))});
    log.answer(text("ok"));
    log.idle();
  }
  log.ask("last");
  EXPECT_THAT(log.told({.context_tokens = 15'000}), HasSubstr("[document left out to save room]"));
  EXPECT_THAT(log.told(), Not(HasSubstr("left out")));
}

}  // namespace
}  // namespace glovebox::brain

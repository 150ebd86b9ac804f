#include "cli/event_text.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace glovebox::cli {
namespace {

namespace json = boost::json;

std::string shown(const char* text) {
  return describe(json::parse(text).as_object(), Style{}).text;
}

TEST(EventText, EachKindOfEventHasItsLine) {
  for (auto [event, line] : {
           std::pair{R"({"type":"session.status_running"})", "· running\n"},
           {R"({"type":"agent.thinking"})", "· thinking\n"},
           {R"({"type":"agent.tool_use","name":"bash","input":{"command":"ls -l"}})",
            "→ bash  ls -l\n"},
           {R"({"type":"agent.tool_use","name":"read","input":{"file_path":"a.txt"}})",
            "→ read  a.txt\n"},
           {R"({"type":"agent.tool_use","name":"x","input":{"n":1}})", "→ x  {\"n\":1}\n"},
           {R"({"type":"agent.tool_use","name":"x","input":{}})", "→ x\n"},
           {R"({"type":"agent.mcp_tool_use","mcp_server_name":"git","name":"log","input":{}})",
            "→ git/log\n"},
           {R"({"type":"user.tool_result","content":[{"type":"text","text":"a\nb\n"}]})",
            "← a\n  b\n"},
           {R"({"type":"user.tool_result","content":[]})", "← (no output)\n"},
           {R"({"type":"user.tool_result"})", "← (no output)\n"},
           {R"({"type":"agent.tool_result","content":"no","is_error":true})", "✗ no\n"},
           {R"({"type":"user.custom_tool_result","content":[{"type":"image"}]})", "← [image]\n"},
           {R"({"type":"agent.message","content":[{"type":"text","text":"Done.\nAll of it."}]})",
            "\nDone.\nAll of it.\n\n"},
           {R"({"type":"user.message","content":[{"type":"text","text":"hi"}]})", "> hi\n"},
           {R"({"type":"user.tool_confirmation","result":"allow"})", "· allowed\n"},
           {R"({"type":"user.tool_confirmation","result":"deny","deny_message":"not now"})",
            "· denied  not now\n"},
           {R"({"type":"session.status_idle","stop_reason":{"type":"end_turn"}})",
            "· done (end_turn)\n"},
           {R"({"type":"session.status_idle","stop_reason":{"type":"requires_action"}})", ""},
           {R"({"type":"session.status_terminated"})", "· session terminated\n"},
           {R"({"type":"session.usage","usage":{}})", ""},
           {R"({"type":"something.new","content":"x"})", ""},
           {R"({})", ""},
       })
    EXPECT_EQ(shown(event), line) << event;
}

TEST(EventText, ErrorsAreForStderr) {
  auto error = describe(
      json::parse(
          R"({"type":"session.error","error":{"type":"billing_error","message":"no money","retry_status":{"type":"terminal"}}})")
          .as_object(),
      Style{});
  EXPECT_TRUE(error.is_error);
  EXPECT_EQ(error.text, "✗ billing_error: no money\n");
}

TEST(EventText, LongTextsAreCutByCharacters) {
  EXPECT_EQ(cut("héllo", 5), "héllo");
  EXPECT_EQ(cut("héllo", 2), "hé … (+3 chars)");
  std::string event = R"({"type":"user.tool_result","content":")" + std::string(600, 'x') + "\"}";
  EXPECT_TRUE(shown(event.c_str()).ends_with(" … (+100 chars)\n"));
}

TEST(EventText, NothingSteersATerminal) {
  EXPECT_EQ(shown(R"({"type":"agent.tool_use","name":"ba\u001bsh","input":{"command":"a\nb"}})"),
            "→ ba\\x1bsh  a\\x0ab\n");
  EXPECT_EQ(shown(R"({"type":"user.tool_result","content":"a\u001b[2J\tb"})"), "← a\\x1b[2J\tb\n");
  EXPECT_EQ(describe(json::parse(R"({"type":"agent.thinking"})").as_object(), Style{true}).text,
            "\x1b[2m· thinking\x1b[0m\n");
}

TEST(EventText, OnlyAnIdleSessionThatWaitsForNobodyHasEnded) {
  auto ends = [](const char* text) { return ends_turn(json::parse(text).as_object()); };
  EXPECT_TRUE(ends(R"({"type":"session.status_idle","stop_reason":{"type":"end_turn"}})"));
  EXPECT_TRUE(ends(R"({"type":"session.status_idle","stop_reason":{"type":"of_another_day"}})"));
  EXPECT_FALSE(ends(R"({"type":"session.status_idle","stop_reason":{"type":"requires_action"}})"));
  EXPECT_FALSE(ends(R"({"type":"session.thread_status_idle","stop_reason":{"type":"end_turn"}})"));
}

}  // namespace
}  // namespace glovebox::cli

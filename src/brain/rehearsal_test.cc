#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdio>
#include <fstream>

#include "brain/model.h"
#include "brain/rehearsal_steps.h"
#include "brain/scenario.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

namespace json = boost::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

// --- Steps

// "write {…}" for each, "?" for what is not understood.
std::vector<std::string> steps(const std::string& prompt, const std::string& last_file = "") {
  std::vector<std::string> all;
  for (const Step& step : parse_steps(prompt, last_file))
    all.push_back(step.tool.empty() ? "?" : str(step.tool, ' ', step.input));
  return all;
}

struct Prompt {
  std::string prompt;
  std::vector<std::string> steps;
};
class Understands : public testing::TestWithParam<Prompt> {};
TEST_P(Understands, AsMeant) {
  EXPECT_EQ(steps(GetParam().prompt), GetParam().steps) << GetParam().prompt;
}

const std::string kHello = R"(write {"file_path":"hello.txt","content":"hi"})";
const std::string kReadHello = R"(read {"file_path":"hello.txt"})";
INSTANTIATE_TEST_SUITE_P(
    Rehearsal, Understands,
    testing::Values(
        Prompt{"create hello.txt with 'hi' then read it back", {kHello, kReadHello}},
        Prompt{"Please create a new file called hello.txt with the text \"hi\", then read it back.",
               {kHello, kReadHello}},
        Prompt{"Create a file named `hello.txt` containing `hi`; read it", {kHello, kReadHello}},
        Prompt{"write 'hi' to hello.txt\nshow me hello.txt", {kHello, kReadHello}},
        Prompt{"WRITE hello.txt with 'hi' AND THEN READ IT BACK", {kHello, kReadHello}},
        Prompt{"create hello.txt with 'hi' and read it back", {kHello, kReadHello}},
        Prompt{"create hello.txt with hi", {kHello}},
        Prompt{"make hello.txt with 'don't; then stop'",
               {R"(write {"file_path":"hello.txt","content":"don't; then stop"})"}},
        Prompt{"create a.txt with \"two\nlines\"",
               {R"(write {"file_path":"a.txt","content":"two\nlines"})"}},
        Prompt{"create empty.txt", {R"(write {"file_path":"empty.txt","content":""})"}},
        Prompt{"cat src/main.cc.", {R"(read {"file_path":"src/main.cc"})"}},
        Prompt{"run `ls -la; echo done`", {R"(bash {"command":"ls -la; echo done"})"}},
        Prompt{"run ls -la | wc -l", {R"(bash {"command":"ls -la | wc -l"})"}},
        Prompt{"execute the command 'make test'", {R"(bash {"command":"make test"})"}},
        Prompt{"list the files", {R"(glob {"pattern":"*"})"}},
        Prompt{"ls in src", {R"(glob {"pattern":"*","path":"src"})"}},
        Prompt{"list **/*.py in /workspace", {R"(glob {"pattern":"**/*.py","path":"/workspace"})"}},
        Prompt{"list everything", {R"(glob {"pattern":"**/*"})"}},
        Prompt{"search for 'hello.*' in src", {R"(grep {"pattern":"hello.*","path":"src"})"}},
        Prompt{"grep needle", {R"(grep {"pattern":"needle"})"}},
        Prompt{"find *.txt", {R"(glob {"pattern":"*.txt"})"}},
        Prompt{"replace 'a' with 'b' in x.txt",
               {R"(edit {"file_path":"x.txt","old_string":"a","new_string":"b"})"}},
        Prompt{"edit x.txt: replace 'a' with 'b'",
               {R"(edit {"file_path":"x.txt","old_string":"a","new_string":"b"})"}},
        Prompt{
            "in x.txt change all 'a' to ''",
            {R"(edit {"file_path":"x.txt","old_string":"a","new_string":"","replace_all":true})"}},
        Prompt{"create x.txt with 'a' then replace 'a' by 'b' in it",
               {R"(write {"file_path":"x.txt","content":"a"})",
                R"(edit {"file_path":"x.txt","old_string":"a","new_string":"b"})"}},
        Prompt{R"(call weather {"city":"Paris"})", {R"(weather {"city":"Paris"})"}},
        Prompt{"call ping", {"ping {}"}}, Prompt{"read it back", {"?"}},
        Prompt{"what is the meaning of life?", {"?"}}, Prompt{"replace 'a'", {"?"}},
        Prompt{"call weather {nope", {"?"}}, Prompt{"run", {"?"}}, Prompt{"create", {"?"}},
        Prompt{"search", {"?"}}, Prompt{"", {}}, Prompt{" ;;\n then ", {}}));

TEST(Rehearsal, ItMeansTheLastFileOfTheConversation) {
  EXPECT_THAT(steps("read it back", "a.txt"), ElementsAre(R"(read {"file_path":"a.txt"})"));
}

// --- The model

struct Heard {
  int thinking = 0;
  std::string text;
  std::vector<std::string> retries;
};

Task<void> ask_into(Model& model, std::string request, ModelListener listener,
                    Result<ModelReply>& out) {
  out = co_await model.ask(std::move(request), std::move(listener));
  co_return ok;
}

struct Asker {
  explicit Asker(ModelOptions options = {}) : model(std::move(*make_rehearsal_model(options))) {}
  Result<ModelReply> ask(
      const json::array& messages,
      const std::string& tools =
          R"([{"name":"bash"},{"name":"read"},{"name":"write"},{"name":"glob"}])") {
    ModelListener listener;
    listener.thinking = [this] { ++heard.thinking; };
    listener.text = [this](std::size_t, std::string_view text) { heard.text += text; };
    listener.retrying = [this](const Error&, std::string_view type, Millis) {
      heard.retries.emplace_back(type);
    };
    Result<ModelReply> reply = Error{};
    json::object request{{"messages", messages}, {"tools", json::parse(tools)}};
    EXPECT_TRUE(net::run(loop, ask_into(*model, json::serialize(request), listener, reply)));
    return reply;
  }
  std::string words(const json::array& messages) {
    auto reply = ask(messages);
    EXPECT_TRUE(reply) << reply.error().what;
    if (!reply) return "";
    json::value content = json::parse(reply->content);
    return std::string(content.at(0).at("text").as_string());
  }
  net::Loop loop;
  std::unique_ptr<Model> model;
  Heard heard;
};

json::object says(std::string_view role, std::string_view text) {
  return {{"role", role}, {"content", {{{"type", "text"}, {"text", text}}}}};
}
json::object calls(std::string_view id, std::string_view tool, std::string_view file) {
  return {{"role", "assistant"},
          {"content",
           {{{"type", "tool_use"}, {"id", id}, {"name", tool}, {"input", {{"file_path", file}}}}}}};
}
json::object gives(std::string_view id, std::string_view text, bool failed = false) {
  return {{"role", "user"},
          {"content",
           {{{"type", "tool_result"},
             {"tool_use_id", id},
             {"is_error", failed},
             {"content", {{{"type", "text"}, {"text", text}}}}}}}};
}

TEST(Rehearsal, OneCallAtATimeAndASummary) {
  Asker asker;
  json::array talk{says("user", "create hello.txt with 'hi' then read it back")};
  auto first = asker.ask(talk);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->stop_reason, "tool_use");
  EXPECT_THAT(first->content, HasSubstr(R"("name":"write")"));
  EXPECT_EQ(asker.heard.thinking, 1);
  talk.push_back(calls("c1", "write", "hello.txt"));
  talk.push_back(gives("c1", "wrote 2 bytes to hello.txt"));
  auto second = asker.ask(talk);
  ASSERT_TRUE(second);
  EXPECT_THAT(second->content, HasSubstr(R"("name":"read")"));
  EXPECT_EQ(asker.heard.thinking, 1);
  talk.push_back(calls("c2", "read", "hello.txt"));
  talk.push_back(gives("c2", "hi"));
  EXPECT_EQ(asker.words(talk),
            "Rehearsal model (rules, no language model): wrote hello.txt; read it: hi");
  EXPECT_EQ(asker.heard.text,
            "Rehearsal model (rules, no language model): wrote hello.txt; read it: hi");
}

TEST(Rehearsal, AFailedStepEndsThePlan) {
  Asker asker;
  EXPECT_EQ(
      asker.words({says("user", "read a.txt then run `ls`"), calls("c1", "read", "a.txt"),
                   gives("c1", "read: a.txt: no such file or directory", true)}),
      "Rehearsal model (rules, no language model): could not read a.txt: read: a.txt: no such "
      "file or directory");
}

TEST(Rehearsal, SaysWhatItUnderstandsAndThatItIsNoModel) {
  Asker asker;
  EXPECT_THAT(asker.words({says("user", "write a poem about the sea")}),
              AllOf(StartsWith("Rehearsal model (rules, no language model): I did not understand"),
                    HasSubstr("create FILE with 'TEXT'")));
  EXPECT_THAT(asker.words({}), StartsWith("Rehearsal model"));
}

TEST(Rehearsal, AToolItWasNotGivenIsNotCalled) {
  Asker asker;
  EXPECT_THAT(asker.words({says("user", "search for 'x'")}), HasSubstr("I have no tool grep"));
}

TEST(Rehearsal, ANewPromptIsANewPlan) {
  Asker asker;
  json::array talk{says("user", "read a.txt"), calls("c1", "read", "a.txt"), gives("c1", "A"),
                   says("assistant", "…"), says("user", "read it again")};
  auto reply = asker.ask(talk);
  ASSERT_TRUE(reply);
  EXPECT_THAT(reply->content, HasSubstr(R"({"file_path":"a.txt"})"));
}

TEST(Rehearsal, WhatWasInterruptedIsNotTakenUpAgain) {
  Asker asker;
  json::object message{
      {"role", "user"},
      {"content",
       {{{"type", "text"}, {"text", "run `sleep 100`"}},
        {{"type", "text"}, {"text", "[The user interrupted you here.]"}},
        {{"type", "text"}, {"text", "run `ls`"}},
        {{"type", "text"}, {"text", "<system_message>\nbe brief\n</system_message>"}}}}};
  auto reply = asker.ask({message});
  ASSERT_TRUE(reply);
  EXPECT_THAT(reply->content, HasSubstr(R"({"command":"ls"})"));
}

TEST(Rehearsal, LongOutputIsShortened) {
  Asker asker;
  std::string words = asker.words({says("user", "read a.txt"), calls("c1", "read", "a.txt"),
                                   gives("c1", std::string(100'000, 'x'))});
  EXPECT_LT(words.size(), 2'500u);
  EXPECT_THAT(words, HasSubstr("… (+98000 bytes)"));
}

// --- Scenarios

class ScenarioFile {
 public:
  explicit ScenarioFile(const std::string& text, const std::string& suffix = ".toml")
      : path(testing::TempDir() + "/scenario_" + std::to_string(::getpid()) + suffix) {
    std::ofstream(path) << text;
  }
  ~ScenarioFile() { std::remove(path.c_str()); }
  std::string path;
};

constexpr std::string_view kToml = R"(
[[turns]]
reply = ["Let me see.", { tool = "weather", input = { city = "Paris" } }]
[[turns]]
match = "STOP"
reply = "Stopped."
stop_reason = "refusal"
[[turns]]
reply = [{ thinking = "hm" }, { text = "It is sunny." }]
)";

TEST(Scenario, TurnsComeInOrderAndMatchesWhereTheyMatch) {
  ScenarioFile file{std::string(kToml)};
  Asker asker({.scenario = file.path});
  EXPECT_THAT(asker.model->describe(), HasSubstr("the script"));
  json::array talk{says("user", "weather?")};
  auto first = asker.ask(talk);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->stop_reason, "tool_use");
  EXPECT_THAT(first->content,
              AllOf(HasSubstr("Let me see."), HasSubstr(R"("input":{"city":"Paris"})")));
  talk.push_back(calls("c1", "weather", ""));
  talk.push_back(gives("c1", "sunny"));
  auto second = asker.ask(talk);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->stop_reason, "end_turn");
  EXPECT_THAT(second->content, HasSubstr("It is sunny."));
  EXPECT_EQ(asker.heard.thinking, 1);
  talk.push_back(says("assistant", "It is sunny."));
  talk.push_back(says("user", "please stop"));
  auto third = asker.ask(talk);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->stop_reason, "refusal");
  EXPECT_THAT(third->stop_details, HasSubstr("refusal"));
  talk.push_back(says("assistant", "Stopped."));
  talk.push_back(says("user", "more"));
  EXPECT_THAT(asker.words(talk), HasSubstr("the script has no further turn"));
}

TEST(Scenario, ErrorsComeFirstAndPass) {
  ScenarioFile file(R"({"turns":[{"error":"overloaded_error","error_times":2,"reply":"There."},
                                 {"error":"billing_error"}]})",
                    ".json");
  Asker asker({.scenario = file.path, .first_backoff = 1ms, .longest_backoff = 1ms});
  EXPECT_EQ(asker.words({says("user", "hi")}), "There.");
  EXPECT_THAT(asker.heard.retries, ElementsAre("model_overloaded_error", "model_overloaded_error"));
  auto failed = asker.ask({says("user", "hi"), says("assistant", "There."), says("user", "ho")});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().tag, "billing_error");
}

TEST(Scenario, MistakesInTheFileAreNamed) {
  struct Bad {
    std::string text, name, error;
  };
  for (const Bad& bad : {
           Bad{"turns = [", "a.toml", "a.toml: line 1"},
           Bad{"{", "a.json", "a.json: not valid JSON"},
           Bad{"[]", "a.json", "must be a JSON object"},
           Bad{R"({"turn":[]})", "a.json", "scenario.turn: is not known here"},
           Bad{R"({"turns":{}})", "a.json", "scenario.turns: must be a list"},
           Bad{R"({"turns":[{}]})", "a.json", "turns[0].reply: is missing"},
           Bad{R"({"turns":[{"reply":[{"tol":"x"}]}]})", "a.json",
               "turns[0].reply[0].tol: is not known here"},
           Bad{R"({"turns":[{"reply":[{}]}]})", "a.json", R"(there must be "text")"},
           Bad{R"({"turns":[{"reply":"x","delay_ms":-1}]})", "a.json", "turns[0].delay_ms"},
           Bad{R"({"turns":[{"reply":"x","matches":"y"}]})", "a.json", "turns[0].matches"},
       }) {
    auto parsed = Scenario::parse(bad.text, bad.name);
    ASSERT_FALSE(parsed) << bad.text;
    EXPECT_THAT(parsed.error().what, HasSubstr(bad.error));
  }
  EXPECT_FALSE(make_rehearsal_model({.scenario = "/nowhere/at/all.toml"}));
}

}  // namespace
}  // namespace glovebox::brain

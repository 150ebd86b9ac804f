#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>

#include "cli/command.h"
#include "cli/commands.h"
#include "cli/suggest.h"

namespace glovebox::cli {
namespace {

Result<int> fail_as(Context&, Args& args, Output&) {
  TRY(word, args.positional("WHAT"));
  TRY_DO(args.done());
  if (word == "missing") return Error{Code::not_found, "no such box"};
  if (word == "slow") return Error{Code::timeout, "too slow"};
  if (word == "no") return Error{Code::forbidden, "no"};
  return 7;
}
Result<int> say(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(state, context.state_dir());
  out.object({{"state", state}});
  return 0;
}
const Command kFail{.name = "box fail",
                    .usage = "box fail WHAT [--hard] [-- COMMAND...]",
                    .help = "Fails.",
                    .run = fail_as};
const Command kSay{.name = "say", .usage = "say", .help = "Says. More.", .run = say};
const Command kDeep{
    .name = "box key ls", .usage = "box key ls", .help = "Lists. More.", .run = say};
const Command kHidden{.name = "hidden",
                      .usage = "hidden",
                      .help = "Not for people.",
                      .run = say,
                      .kind = Command::Kind::internal};

struct Ran {
  int code = 0;
  std::string out, err;
};
Ran ran(std::vector<std::string> words, Environment env = {}, bool terminal = false) {
  static constexpr const Command* kAll[] = {&kFail, &kSay, &kDeep, &kHidden};
  Ran result;
  auto make = [&](Output::Format format) {
    return Output(
        format, [&](std::string_view text) { return result.out += text, ok; },
        [&](std::string_view text) { return result.err += text, ok; });
  };
  result.code = run_program(kAll, Context{.env = std::move(env)}, words, make, terminal);
  return result;
}

TEST(Program, ExitCodesTellKindsOfFailure) {
  EXPECT_EQ(ran({"box", "fail", "else"}).code, 7);
  EXPECT_EQ(ran({"box", "fail", "no"}).code, 1);
  EXPECT_EQ(ran({"box", "fail"}).code, 2);
  EXPECT_EQ(ran({"box", "fail", "missing"}).code, 3);
  EXPECT_EQ(ran({"box", "fail", "slow"}).code, 4);
}

TEST(Program, UsageErrorsShowTheUsage) {
  EXPECT_NE(ran({"box", "fail"}).err.find("usage: glovebox box fail WHAT"), std::string::npos);
  EXPECT_EQ(ran({"box", "fail", "no"}).err, "glovebox: no\n");
}

TEST(Program, UnknownCommandsSuggestTheNearest) {
  EXPECT_NE(ran({"sya"}).err.find("did you mean 'say'?"), std::string::npos);
  EXPECT_NE(ran({"box", "fali"}).err.find("did you mean 'fail'?"), std::string::npos);
  EXPECT_EQ(ran({"sya"}).code, 2);
  EXPECT_EQ(ran({"hiden"}).err.find("hidden"), std::string::npos);
}

TEST(Program, GlobalOptionsStandAnywhereBeforeTheDashes) {
  EXPECT_EQ(ran({"--state", "/x", "say"}).out, "{\"state\":\"/x\"}\n");
  EXPECT_EQ(ran({"say", "--state=/x", "--text"}).out, "state  /x\n");
  EXPECT_EQ(ran({"box", "fail", "else", "--", "--state"}).code, 7);
}

TEST(Program, AnEmptyGlobalOptionIsWrongUsage) {
  for (const char* option : {"--state=", "--url=", "--config="}) {
    Ran result = ran({"say", option});
    EXPECT_EQ(result.code, 2) << option;
    EXPECT_NE(result.err.find("nothing is given"), std::string::npos) << option;
  }
}

TEST(Program, JsonInAPipeAndTextOnATerminal) {
  EXPECT_EQ(ran({"say"}, {{"GLOVEBOX_STATE", "/y"}}).out, "{\"state\":\"/y\"}\n");
  EXPECT_EQ(ran({"say"}, {{"GLOVEBOX_STATE", "/y"}}, true).out, "state  /y\n");
  EXPECT_EQ(ran({"say", "--json"}, {{"GLOVEBOX_STATE", "/y"}}, true).out, "{\"state\":\"/y\"}\n");
}

TEST(Program, HelpListsWhatPeopleUse) {
  Ran all = ran({"help"});
  EXPECT_EQ(all.code, 0);
  EXPECT_NE(all.out.find("say"), std::string::npos);
  EXPECT_EQ(all.out.find("hidden"), std::string::npos);
  EXPECT_NE(ran({"help", "box", "fail"}).out.find("usage: glovebox box fail"), std::string::npos);
  EXPECT_NE(ran({"box", "fail", "--help"}).out.find("usage: glovebox box fail"), std::string::npos);
  EXPECT_EQ(ran({}).code, 2);
}

TEST(Program, TheLongestNameWins) {
  EXPECT_EQ(ran({"box", "key", "ls", "--state=/x"}).out, "{\"state\":\"/x\"}\n");
  EXPECT_NE(ran({"box", "key"}).err.find("box key does what? One of: ls"), std::string::npos);
  EXPECT_NE(ran({"box", "key", "l"}).err.find("did you mean 'ls'?"), std::string::npos);
}

TEST(Program, HelpOfAGroupHasItsCommands) {
  for (Ran group : {ran({"box", "--help"}), ran({"help", "box"})}) {
    EXPECT_EQ(group.code, 0);
    EXPECT_NE(group.out.find("usage: glovebox box fail WHAT"), std::string::npos);
    EXPECT_NE(group.out.find("usage: glovebox box key ls\n    Lists\n"), std::string::npos);
  }
}

TEST(Program, AnOptionIsNotTornAndNoUsageIsTooWide) {
  for (const Command* command : commands()) {
    std::string text = usage_text(*command), flat;
    for (const std::string& line : split(text, '\n')) {
      EXPECT_LE(line.size(), 100u) << line;
      EXPECT_EQ(std::ranges::count(line, '['), std::ranges::count(line, ']')) << line;
      flat += str(flat.empty() ? "" : " ", trim(line));
    }
    EXPECT_EQ(flat, str("usage: glovebox ", command->usage));
  }
}

TEST(Commands, EachUsageBeginsWithItsName) {
  for (const Command* command : commands()) {
    EXPECT_TRUE(command->usage.starts_with(command->name)) << command->name;
    EXPECT_NE(command->help.find('.'), std::string_view::npos) << command->name;
  }
}

TEST(Suggest, SlipsOfTheFingersAreFound) {
  std::vector<std::string> names{"create", "status", "doctor"};
  EXPECT_EQ(nearest("craete", names), "create");
  EXPECT_EQ(nearest("stats", names), "status");
  EXPECT_EQ(nearest("zzz", names), "");
  EXPECT_EQ(distance("ab", "ba"), 1u);
  EXPECT_EQ(distance("", "abc"), 3u);
}

}  // namespace
}  // namespace glovebox::cli

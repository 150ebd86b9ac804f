#include "cli/completion.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "cli/commands.h"

namespace glovebox::cli {
namespace {

// What bash offers for the last of these words.
std::string offered(const std::string& words) {
  std::string script = bash_completion(commands()) + "\nCOMP_WORDS=(" + words +
                       ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
                       "compopt() { :; }\n_glovebox\necho \"${COMPREPLY[*]}\"\n";
  std::string path = testing::TempDir() + "completion.bash";
  FILE* file = std::fopen(path.c_str(), "w");
  EXPECT_TRUE(file);
  std::fputs(script.c_str(), file);
  std::fclose(file);
  FILE* shell = ::popen(("bash --norc " + path + " 2>&1").c_str(), "r");
  EXPECT_TRUE(shell);
  std::string out;
  char piece[4096];
  while (std::size_t n = std::fread(piece, 1, sizeof piece, shell)) out.append(piece, n);
  ::pclose(shell);
  std::remove(path.c_str());
  return out;
}

TEST(Completion, OffersTheWordsOfCommands) {
  EXPECT_EQ(offered("glovebox sess"), "session sessions\n");
  EXPECT_EQ(offered("glovebox sessions i"), "interrupt\n");
  EXPECT_EQ(offered("glovebox environment key ''"), "create ls revoke\n");
  EXPECT_EQ(offered("glovebox help work s"), "stats stop\n");
}

TEST(Completion, OffersTheOptionsOfTheCommandAndThoseOfAll) {
  EXPECT_EQ(offered("glovebox work stop --f"), "--force\n");
  EXPECT_EQ(offered("glovebox sandbox create --me"), "--memory=\n");
  EXPECT_EQ(offered("glovebox work ls --js"), "--json\n");
  EXPECT_EQ(offered("glovebox work ls --memory"), "\n");
}

TEST(Completion, KnowsEveryCommand) {
  for (const std::string& script : {bash_completion(commands()), zsh_completion(commands())})
    for (const Command* command : commands())
      EXPECT_NE(script.find(command->name), script.npos) << command->name;
}

TEST(Completion, InternalCommandsAreNotOffered) {
  static const Command kHidden{.name = "hidden-daemon",
                               .usage = "hidden-daemon",
                               .help = "x.",
                               .run = nullptr,
                               .kind = Command::Kind::internal};
  static constexpr const Command* kAll[] = {&kHidden};
  EXPECT_EQ(bash_completion(kAll).find("hidden"), std::string::npos);
  EXPECT_EQ(zsh_completion(kAll).find("hidden"), std::string::npos);
}

}  // namespace
}  // namespace glovebox::cli

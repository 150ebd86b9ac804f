#include "cli/prompt.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace glovebox::cli {
namespace {

Result<std::optional<std::string>> prompt(std::vector<std::string> words, Environment env = {}) {
  auto args = Args::parse("x [PROMPT] [--prompt-file=FILE] [-- PROMPT]", words);
  EXPECT_TRUE(args);
  return read_prompt(Context{.env = std::move(env)}, *args, "PROMPT");
}

TEST(Prompt, IsTakenAsItIs) {
  for (const char* text : {"plain", " with\nlines ", "$(x) `y` \"z\" 'w'", "日本"}) {
    EXPECT_EQ(*prompt({text}), text);
    EXPECT_EQ(*prompt({}, {{"PROMPT", text}}), text);
    EXPECT_EQ(*prompt({"--", text}), text);
  }
  EXPECT_EQ(*prompt({"--", "--json"}), "--json");
}

TEST(Prompt, TheArgumentBeatsTheVariable) {
  EXPECT_EQ(*prompt({"a"}, {{"PROMPT", "b"}}), "a");
  EXPECT_FALSE(*prompt({}));
  EXPECT_FALSE(*prompt({}, {{"PROMPT", ""}}));
}

TEST(Prompt, ComesFromAFile) {
  std::string path = testing::TempDir() + "prompt.txt";
  FILE* file = std::fopen(path.c_str(), "w");
  std::fputs("from a file\n", file);
  std::fclose(file);
  EXPECT_EQ(*prompt({"--prompt-file", path}), "from a file\n");
  std::remove(path.c_str());
  EXPECT_EQ(prompt({"--prompt-file", path}).error().code, Code::not_found);
}

TEST(Prompt, OneSourceOneWordUtf8) {
  EXPECT_TRUE(is_usage_error(prompt({"a", "b"}).error()));
  EXPECT_TRUE(is_usage_error(prompt({"a", "--", "b"}).error()));
  EXPECT_TRUE(is_usage_error(prompt({"--", "a", "b"}).error()));
  EXPECT_TRUE(is_usage_error(prompt({"\xff"}).error()));
  EXPECT_TRUE(is_usage_error(prompt({" \n"}).error()));
}

}  // namespace
}  // namespace glovebox::cli

#include <gtest/gtest.h>

#include "tools/regex.h"
#include "tools/test_dir.h"
#include "tools/text.h"

namespace glovebox::tools {
namespace {

using Grep = ToolTest;

TEST_F(Grep, SaysWhatTheTableSays) {
  put("a", "one\nneedle 1\nthree\nneedle 2");
  put("b/c", "needle\r\n");
  put("b/none", "nothing");
  put(".hidden", "needle\n");
  put("node_modules/x", "needle\n");
  put(".git/x", "needle\n");
  put("bin", std::string("needle before\nx\0needle\nneedle after\n", 37));
  put("bad", "needle \xff\n");
  put("d/uni", "\xc3\xa4needle\n");
  put("d/sp ace", "needle\n");
  const std::pair<std::string, std::string> table[] = {
      {R"({"pattern":"needle"})",
       "TOP/work/.hidden:1:needle\nTOP/work/a:2:needle 1\nTOP/work/a:4:needle 2\n"
       "TOP/work/b/c:1:needle\n"
       "TOP/work/bad:1:needle \xef\xbf\xbd\nTOP/work/bin:1:needle before\n"
       "TOP/work/d/sp ace:1:needle\nTOP/work/d/uni:1:\xc3\xa4needle"},
      {R"({"pattern":"needle","path":"a"})", "TOP/work/a:2:needle 1\nTOP/work/a:4:needle 2"},
      {R"({"pattern":"needle","path":"b"})", "TOP/work/b/c:1:needle"},
      {R"({"pattern":"^needle$","path":"b/c"})", "TOP/work/b/c:1:needle"},
      {R"({"pattern":"^.needle$"})", "TOP/work/d/uni:1:\xc3\xa4needle"},
      {R"({"pattern":"NEEDLE"})", "no matches"},
      {R"({"pattern":"(?i)NEEDLE 1"})", "TOP/work/a:2:needle 1"},
      {R"({"pattern":"needle","path":"none"})", "no matches"},
      {R"({"pattern":"needle","path":".."})",
       "E:path \"..\" is outside the session's working directory"},
      {R"({"pattern":""})", "E:grep: pattern is required"},
      {R"({})", "E:grep: pattern is required"},
      {R"({"pattern":false})", "E:grep: pattern must be a string"},
      {R"({"pattern":"x","path":[]})", "E:grep: path must be a string"},
      {R"({"pattern":"("})", "E:grep: invalid regex: missing ): ("},
      {R"json({"pattern":"(?=x)"})json", "E:grep: invalid regex: invalid perl operator: (?="},
  };
  for (const auto& [json, says] : table) EXPECT_EQ(say("grep", json), says) << json;
}

TEST(InRe2, SpellsWhatModelsWriteAndRe2DoesNotKnow) {
  const std::pair<std::string, std::string> table[] = {
      {"", ""},
      {"plain (a|b)*[x-z]{2}\\.", "plain (a|b)*[x-z]{2}\\."},
      {"(?<name>a)", "(?P<name>a)"},
      {"(?<=a)(?<!b)", "(?<=a)(?<!b)"},
      {"(?<", "(?<"},
      {"[(?<n>]", "[(?<n>]"},
      {"[](?<n>](?<n>x)", "[](?<n>](?P<n>x)"},
      {"[^](?<n>](?<n>x)", "[^](?<n>](?P<n>x)"},
      {"[[:alpha:](?<n>](?<n>x)", "[[:alpha:](?<n>](?P<n>x)"},
      {"[\\](?<n>]", "[\\](?<n>]"},
      {"\\(?<n>", "\\(?<n>"},
      {"\\u00fc", "\\x{0000fc}"},
      {"[\\u00e0-\\u00FF]", "[\\x{0000e0}-\\x{0000ff}]"},
      {"\\ud83d\\ude00", "\\x{01f600}"},
      {"\\u{1F600}", "\\x{1F600}"},
      {"\\u12", "\\u12"},
      {"\\u{x}", "\\u{x}"},
      {"\\\\u00fc", "\\\\u00fc"},
      {"\\", "\\"},
  };
  for (const auto& [pattern, spelling] : table) EXPECT_EQ(in_re2(pattern), spelling) << pattern;
}

TEST_F(Grep, KnowsNamedGroupsAndUnicodeEscapes) {
  put("f", "gr\xc3\xbcn \xf0\x9f\x98\x80\n");
  EXPECT_EQ(say("grep", R"({"pattern":"(?<colour>gr\\u00fcn) \\ud83d\\ude00$","path":"f"})"),
            "TOP/work/f:1:gr\xc3\xbcn \xf0\x9f\x98\x80");
}

TEST_F(Grep, LinksAreNotFollowed) {
  std::filesystem::create_directory(top + "/out");
  std::ofstream(top + "/out/f") << "needle";
  link("../out", "dir");
  link("../out/f", "file");
  link(".", "self");
  EXPECT_EQ(say("grep", R"({"pattern":"needle"})"), "no matches");
}

TEST_F(Grep, LongLinesAreSkippedAndCounted) {
  put("f", std::string(2000, 'x') + "\n" + std::string(2001, 'x') + "\n" +
               std::string(1 << 20, 'x') + "\nx\n");
  std::string result = say("grep", R"({"pattern":"x$"})");
  EXPECT_EQ(result, "TOP/work/f:1:" + std::string(2000, 'x') + "\nTOP/work/f:4:x");
  std::string two_thousand;
  for (int i = 0; i < 2000; ++i) two_thousand += "\xe6\x97\xa5";
  put("f", two_thousand + "\n" + two_thousand + "\xe6\x97\xa5\n");
  EXPECT_EQ(say("grep", R"({"pattern":"."})"), "TOP/work/f:1:" + two_thousand);
}

TEST_F(Grep, LinesAcrossReadPiecesAreWhole) {
  std::string content;
  while (content.size() < 64 * 1024 - 3) content += 'y', content += '\n';
  put("f", content + "needle\nneedle");
  std::string result = say("grep", R"({"pattern":"needle"})");
  EXPECT_NE(result.find(":needle\n"), result.npos);
  EXPECT_TRUE(result.ends_with(":needle"));
}

TEST_F(Grep, OutputIsCapped) {
  put("f", [] {
    std::string lines;
    for (int i = 0; i < 20'000; ++i) lines += "needle\n";
    return lines;
  }());
  std::string result = run("grep", R"({"pattern":"needle"})").content;
  EXPECT_TRUE(result.ends_with("needle\n[output truncated at 102400 bytes]"));
  std::size_t hits = result.size() - std::string_view("[output truncated at 102400 bytes]").size();
  EXPECT_LE(hits, 102'400u);
  EXPECT_GT(hits, 102'300u);
}

TEST_F(Grep, NoPatternTakesForEver) {
  std::string line(1900, 'a');
  std::string content;
  for (int i = 0; i < 200; ++i) content += line + "!\n";
  put("f", content);
  for (const char* pattern :
       {"(a+)+$", "(a|a)*b", "(a*)*c", "(.*a){20}x", "^(([a-z])+.)+[A-Z]([a-z])+$"})
    EXPECT_EQ(say("grep", str(R"({"pattern":")", pattern, R"("})")), "no matches") << pattern;
  EXPECT_EQ(say("grep", R"({"pattern":"((a{100}){100}){100}"})").substr(0, 22),
            "E:grep: invalid regex:");
  EXPECT_EQ(say("grep", str(R"({"pattern":")", std::string(5000, '('), R"("})")).substr(0, 22),
            "E:grep: invalid regex:");
}

TEST_F(Grep, TimeIsLimited) {
  put("f", "needle\n");
  context.grep_timeout = Millis(0);
  EXPECT_EQ(say("grep", R"({"pattern":"needle"})"), "E:grep: timed out after 0s");
}

TEST_F(Grep, FortyFoldersDeepAndNoFurther) {
  std::string path;
  for (int i = 1; i <= 41; ++i) {
    path += "d/";
    if (i >= 40) put(path + "f", "needle");
  }
  EXPECT_EQ(say("grep", R"({"pattern":"needle"})"), "TOP/work/" + path.substr(2) + "f:1:needle");
}

TEST(Text, ColoursAreRemoved) {
  EXPECT_EQ(without_colours("\x1b[31mred\x1b[0m"), "red");
  EXPECT_EQ(without_colours("\x1b[?25l\x1b[2;3H\x1b[ qx\x1b[K"), "x");
  EXPECT_EQ(without_colours("\x1b[31"), "\x1b[31");
  EXPECT_EQ(without_colours("\x1b]0;title\x07"), "\x1b]0;title\x07");
  EXPECT_EQ(without_colours("\x1b[\x1b[1mx"), "\x1b[x");
}

TEST(Text, CharactersAreUtf16Units) {
  EXPECT_EQ(characters("a\xc3\xa9\xe6\x97\xa5"), 3u);
  EXPECT_EQ(characters("\xf0\x9f\x98\x80"), 2u);
  EXPECT_EQ(last_characters("a\xc3\xa9\xe6\x97\xa5", 2), "\xc3\xa9\xe6\x97\xa5");
  EXPECT_EQ(last_characters("a\xf0\x9f\x98\x80"
                            "b",
                            2),
            "b");
  EXPECT_EQ(last_characters("abc", 0), "");
  EXPECT_EQ(last_characters("abc", 5), "abc");
}

}  // namespace
}  // namespace glovebox::tools

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>

#include "tools/glob_pattern.h"
#include "tools/test_dir.h"

namespace glovebox::tools {
namespace {

TEST(Braces, ExpandAsAShellDoes) {
  struct {
    std::string pattern;
    std::vector<std::string> expected;
  } table[] = {
      {"a", {"a"}},
      {"{a,b}", {"a", "b"}},
      {"x{a,b}y", {"xay", "xby"}},
      {"{a,b}{1,2}", {"a1", "a2", "b1", "b2"}},
      {"{a,{b,c}d}", {"a", "bd", "cd"}},
      {"{a,}", {"a", ""}},
      {"{1..3}", {"1", "2", "3"}},
      {"{3..1}", {"3", "2", "1"}},
      {"{08..10}", {"08", "09", "10"}},
      {"{-1..1}", {"-1", "0", "1"}},
      {"{1..10..4}", {"1", "5", "9"}},
      {"{a..e..2}", {"a", "c", "e"}},
      {"{a}", {"{a}"}},
      {"{}", {"{}"}},
      {"{a", {"{a"}},
      {"a}", {"a}"}},
      {"a,b", {"a,b"}},
      {"${a,b}", {"${a,b}"}},
      {"{a{b,c}}", {"{ab}", "{ac}"}},
      {"{1..x}", {"{1..x}"}},
      {"{1..2..3..4}", {"{1..2..3..4}"}},
  };
  for (const auto& [pattern, expected] : table) {
    auto expanded = expand_braces(pattern);
    ASSERT_TRUE(expanded) << pattern;
    EXPECT_EQ(*expanded, expected) << pattern;
  }
}

TEST(Braces, TooManyAreRefused) {
  EXPECT_FALSE(expand_braces("{1..2000}"));
  EXPECT_FALSE(expand_braces("{1..2147483647}"));
  EXPECT_FALSE(expand_braces("{-2147483648..2147483647..-2147483648}{1..1000}"));
  std::string pattern;
  for (int i = 0; i < 40; ++i) pattern += "{a,b}";
  EXPECT_FALSE(expand_braces(pattern));
  EXPECT_TRUE(expand_braces("{1..1000}"));
}

TEST(GlobName, MatchesOneName) {
  struct {
    std::string pattern, name;
    bool expected;
  } table[] = {
      {"a", "a", true},
      {"a", "b", false},
      {"a", "ab", false},
      {"*", "abc", true},
      {"*", ".abc", false},
      {"*.x", ".x", false},
      {"!(a).x", ".x", false},
      {"*(.*)", ".x", true},
      {".*", ".abc", true},
      {"?", "a", true},
      {"?", "\xc3\xa9", true},
      {"?", "ab", false},
      {"?b", ".b", false},
      {"a*c", "abbc", true},
      {"a*c", "abcb", false},
      {"a**c", "ac", true},
      {"[ab]", "b", true},
      {"[!ab]", "b", false},
      {"[^ab]", "c", true},
      {"[a-c]x", "bx", true},
      {"[a-c]x", "dx", false},
      {"[]a]", "]", true},
      {"[a-]", "-", true},
      {"[[]", "[", true},
      {"[a", "[a", true},
      {"[a", "a", false},
      {"[b-a]", "a", false},
      {"[.]x", ".x", true},
      {"[.a]x", ".x", false},
      {"[[:digit:]]", "5", true},
      {"[[:punct:]]", "-", true},
      {"[[:punct:]]", "+", false},  // Unicode calls it a symbol
      {"[[:alpha:]]", "\xc3\xa9", true},
      {"[[:alpha:]]", "1", false},
      {"[[:nope:]]", "n]", true},
      {"@(a|b)", "b", true},
      {"@(a|b)", "ab", false},
      {"?(a)b", "b", true},
      {"?(a)b", "aab", false},
      {"+(a)b", "aab", true},
      {"+(a)b", "b", false},
      {"*(a|bc)", "abca", true},
      {"*(a|bc)", "abb", false},
      {"!(a)", "b", true},
      {"!(a)", "a", false},
      {"!(*.txt)", "x.md", true},
      {"!(*.txt)", "x.txt", false},
      {"*.!(txt)", "x.md", true},
      {"!(a)", ".x", false},
      {"@(.x)", ".x", true},
      {"+(a|+(b))c", "abbac", true},
      {"a!(b)c", "abc", false},
      {"a!(b)c", "abbc", true},
      {"(a)", "(a)", true},
      {"@(a", "@(a", true},
      {"!d", "!d", true},
      {"#x", "#x", true},
      {"\xe6\x97\xa5?.txt", "\xe6\x97\xa5\xe6\x9c\xac.txt", true},
  };
  for (const auto& [pattern, name, expected] : table)
    EXPECT_EQ(GlobName(pattern).matches(name), expected) << pattern << " " << name;
}

TEST(GlobName, NoPatternTakesForEver) {
  std::string name(255, 'a');
  std::string stars, nested = "a";
  for (int i = 0; i < 1000; ++i) stars += "*a";
  while (nested.size() < 500) nested = str("+(", nested, "|a*|!(", nested, "))");
  EXPECT_FALSE(GlobName(stars + "b").matches(name));
  EXPECT_FALSE(GlobName("*(*(*(*(a|aa)|a*)|*a)|?)b").matches(name));
  EXPECT_FALSE(GlobName("!(!(!(!(!(!(!(*a*a*b)))))))b").matches(name));
  EXPECT_FALSE(GlobName(nested + "b").matches(name));
}

class Glob : public ToolTest {
 protected:
  // The matches below the work directory, by name.
  std::string found(const std::string& pattern, const std::string& more = "") {
    ToolResult result = run("glob", str(R"({"pattern":")", pattern, '"', more, '}'));
    if (result.is_error) return "E:" + result.content;
    auto lines = split(result.content, '\n');
    std::ranges::sort(lines);
    std::string all;
    for (std::string line : lines) {
      if (line.starts_with(work + '/')) line.erase(0, work.size() + 1);
      all += (all.empty() ? "" : " ") + line;
    }
    return all;
  }
  void set_time(const std::string& path, int seconds) {
    timespec times[2] = {{seconds, 0}, {seconds, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (work + '/' + path).c_str(), times, 0), 0);
  }
};

TEST_F(Glob, WalksAsTheTableSays) {
  for (const char* path :
       {"a.txt", "b.txt", "c.md", ".hidden", ".dot/x.txt", ".dot/.y", "sub/a.txt", "sub/.h.txt",
        "sub/deep/b.js", "sub/deep/er/c.js", "node_modules/m.js", "sub/node_modules/n.js",
        ".git/config", "1.txt", "10.txt", "q{r}"})
    put(path);
  const std::pair<std::string, std::string> table[] = {
      {"*", "1.txt 10.txt a.txt b.txt c.md q{r}"},
      {"**", "1.txt 10.txt a.txt b.txt c.md q{r} sub/a.txt sub/deep/b.js sub/deep/er/c.js"},
      {"**/*", "1.txt 10.txt a.txt b.txt c.md q{r} sub/a.txt sub/deep/b.js sub/deep/er/c.js"},
      {"*.txt", "1.txt 10.txt a.txt b.txt"},
      {"**/*.txt", "1.txt 10.txt a.txt b.txt sub/a.txt"},
      {"**.txt", "1.txt 10.txt a.txt b.txt"},
      {"***", "1.txt 10.txt a.txt b.txt c.md q{r}"},
      {"**/**/a.txt", "a.txt sub/a.txt"},
      {"sub/**", "sub/a.txt sub/deep/b.js sub/deep/er/c.js"},
      {"*/**", "sub/a.txt sub/deep/b.js sub/deep/er/c.js"},
      {"**/sub/**", "sub/a.txt sub/deep/b.js sub/deep/er/c.js"},
      {"a.txt/**", "no matches"},
      {"**/er/*.js", "sub/deep/er/c.js"},
      {"sub/**/deep/**/c.js", "sub/deep/er/c.js"},
      {".*", ".hidden"},
      {"**/.*", ".hidden sub/.h.txt"},
      {".dot/*", ".dot/x.txt"},
      {"**/.dot/*", ".dot/x.txt"},
      {".dot/.*", ".dot/.y"},
      {"./a.txt", "a.txt"},
      {"sub/./a.txt", "sub/a.txt"},
      {"sub//a.txt", "sub/a.txt"},
      {"sub\\\\a.txt", "sub/a.txt"},
      {"sub/", "no matches"},
      {"sub", "no matches"},
      {"a.txt/", "no matches"},
      {"{a,b}.txt", "a.txt b.txt"},
      {"{a.txt,sub/**/*.js}", "a.txt sub/deep/b.js sub/deep/er/c.js"},
      {"{1..10..9}.txt", "1.txt 10.txt"},
      {"sub/{,deep/}*", "sub/a.txt sub/deep/b.js"},
      {"{/etc,sub}/a.txt", "sub/a.txt"},
      {"q{r}", "q{r}"},
      {"[!a].txt", "1.txt b.txt"},
      {"@(a|b).txt", "a.txt b.txt"},
      {"!(*.txt)", "c.md q{r}"},
      {"node_modules/*", "no matches"},
      {"**/node_modules/**", "no matches"},
      {".git/*", "no matches"},
      {"none*", "no matches"},
      {".", "no matches"},
      {"", "E:glob: pattern is required"},
      {"/etc/*",
       "E:glob: absolute pattern not permitted; pass a relative pattern (and optionally path)"},
      {"../*", "E:glob: \"..\" is not permitted in the pattern"},
      {"a/../b", "E:glob: \"..\" is not permitted in the pattern"},
      {"{..,sub}/*", "E:glob: \"..\" is not permitted in the pattern"},
      {"a\\\\..\\\\b", "E:glob: \"..\" is not permitted in the pattern"},
      {"a..b", "no matches"},
      {"{1..5000}", "E:glob: pattern has too many alternatives"},
      {std::string(5000, 'a'), "E:glob: pattern is too long"},
  };
  for (const auto& [pattern, expected] : table) EXPECT_EQ(found(pattern), expected) << pattern;
  EXPECT_EQ(say("glob", "{}"), "E:glob: pattern is required");
  EXPECT_EQ(say("glob", R"({"pattern":1})"), "E:glob: pattern must be a string");
}

TEST_F(Glob, PathIsTheFolderToSearch) {
  put("sub/a");
  put("a");
  EXPECT_EQ(found("*", R"(,"path":"sub")"), "sub/a");
  EXPECT_EQ(found("*", R"(,"path":"")"), "a");
  EXPECT_EQ(found("*", R"(,"path":"none")"), "no matches");
  EXPECT_EQ(found("*", R"(,"path":"a")"), "no matches");
  EXPECT_EQ(found("*", R"(,"path":"..")"),
            "E:path \"..\" is outside the session's working directory");
  EXPECT_EQ(found("*", R"(,"path":7)"), "E:glob: path must be a string");
}

TEST_F(Glob, FollowsOnlyLinksThatThePatternNamesAndThatStayInside) {
  put("real/a.txt");
  std::filesystem::create_directory(top + "/out");
  std::ofstream(top + "/out/secret.txt");
  link("real", "inside");
  link("../out", "outside");
  link("..", "real/up");
  link("real/a.txt", "file_link");
  EXPECT_EQ(found("inside/*"), "inside/a.txt");
  EXPECT_EQ(found("{real,inside}/a.txt"), "inside/a.txt real/a.txt");
  EXPECT_EQ(found("in*/*"), "no matches");
  EXPECT_EQ(found("outside/*"), "no matches");
  EXPECT_EQ(found("real/up/real/*"), "real/up/real/a.txt");
  EXPECT_EQ(found("**"), "real/a.txt");
  EXPECT_EQ(found("file_link"), "no matches");
}

TEST_F(Glob, NewestFirstAndAtMostTwoHundred) {
  for (int i = 0; i < 250; ++i) {
    std::string name = "f" + std::to_string(i);
    put(name);
    set_time(name, 1'000'000 + (i * 7) % 250);
  }
  auto lines = split(run("glob", R"({"pattern":"*"})").content, '\n');
  ASSERT_EQ(lines.size(), 200u);
  int last = 2'000'000;
  for (const auto& line : lines) {
    struct stat info{};
    ASSERT_EQ(::stat(line.c_str(), &info), 0);
    EXPECT_LE(info.st_mtim.tv_sec, last);
    last = static_cast<int>(info.st_mtim.tv_sec);
  }
  EXPECT_GE(last, 1'000'050);
}

TEST_F(Glob, FilesOfTheSameTimeAreListedAsNodeFindsThem) {
  for (const char* path : {"c", "a", "z", "b/x", "b/a", "d/x"}) {
    put(path);
    set_time(path, 1000);
  }
  auto in_order = [&](const std::string& pattern) {
    std::string text = run("glob", str(R"({"pattern":")", pattern, "\"}")).content;
    for (std::size_t at; (at = text.find(work + '/')) != text.npos;)
      text.erase(at, work.size() + 1);
    std::ranges::replace(text, '\n', ' ');
    return text;
  };
  EXPECT_EQ(in_order("**"), "a c z d/x b/a b/x");
  EXPECT_EQ(in_order("{z,a}"), "z a");
  EXPECT_EQ(in_order("{d,b}/x"), "b/x d/x");
}

TEST_F(Glob, NamesThatNobodyCanWriteAreLeftOut) {
  put("good");
  put("bad\xff");
  EXPECT_EQ(found("*"), "good");
}

TEST_F(Glob, ADeepTreeNeedsNoMoreDescriptors) {
  std::string path;
  for (int i = 0; i < 150; ++i) path += "d/";
  put(path + "leaf");
  rlimit before{}, few{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  few = before;
  few.rlim_cur = 64;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  std::string leaf = found("**/leaf");
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(leaf, path + "leaf");
}

}  // namespace
}  // namespace glovebox::tools

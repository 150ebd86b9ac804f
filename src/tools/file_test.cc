#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>

#include "tools/test_dir.h"

namespace glovebox::tools {
namespace {

struct Row {
  std::string json, says;
};

using Read = ToolTest;

TEST_F(Read, SaysWhatTheTableSays) {
  put("f", "a\nb\n");
  put("empty");
  put("bad", "x\xff\xfey\xc3");
  put("\xc3\xa9\xe6\x97\xa5", "\xf0\x9f\x98\x80");
  put("crlf", "a\r\nb");
  put("dir/x");
  const Row table[] = {
      {R"({"file_path":"f"})", "a\nb\n"},
      {R"({"file_path":"empty"})", "(no output)"},
      {R"({"file_path":"bad"})", "x\xef\xbf\xbd\xef\xbf\xbdy\xef\xbf\xbd"},
      {R"({"file_path":"\u00e9\u65e5"})", "\xf0\x9f\x98\x80"},
      {R"({"file_path":"f","view_range":[1,1]})", "a"},
      {R"({"file_path":"f","view_range":[2,2]})", "b"},
      {R"({"file_path":"f","view_range":[1,2]})", "a\nb"},
      {R"({"file_path":"f","view_range":[3,3]})", "(no output)"},
      {R"({"file_path":"f","view_range":[1,10]})", "a\nb\n"},
      {R"({"file_path":"f","view_range":[2,-1]})", "b\n"},
      {R"({"file_path":"f","view_range":[2,0]})", "b\n"},
      {R"({"file_path":"f","view_range":[0,1]})", "a"},
      {R"({"file_path":"f","view_range":[-5,-1]})", "a\nb\n"},
      {R"({"file_path":"f","view_range":[2,1]})", "(no output)"},
      {R"({"file_path":"f","view_range":[1,99999999999999999999]})", "a\nb\n"},
      {R"({"file_path":"f","view_range":[-9223372036854775808,1.0]})", "a"},
      {R"({"file_path":"f","view_range":[9223372036854775807,9223372036854775807]})",
       "(no output)"},
      {R"({"file_path":"f","view_range":[]})", "a\nb\n"},
      {R"({"file_path":"f","view_range":null})", "a\nb\n"},
      {R"({"file_path":"crlf","view_range":[1,2]})", "a\r\nb"},
      {R"({"file_path":"f","view_range":[1]})",
       "E:read: view_range must be [start_line, end_line]"},
      {R"({"file_path":"f","view_range":[1,2,3]})",
       "E:read: view_range must be [start_line, end_line]"},
      {R"({"file_path":"f","view_range":"1-2"})",
       "E:read: view_range must be [start_line, end_line]"},
      {R"({"file_path":"f","view_range":[1.5,2]})",
       "E:read: view_range must be [start_line, end_line]"},
      {R"({"file_path":"f","view_range":[1,null]})",
       "E:read: view_range must be [start_line, end_line]"},
      {R"({"file_path":"dir"})", "E:read: dir is not a regular file"},
      {R"({"file_path":"."})", "E:read: . is not a regular file"},
      {R"({"file_path":"none"})", "E:read: none: no such file or directory"},
      {R"({"file_path":"none/x"})", "E:read: none/x: no such file or directory"},
      {R"({"file_path":"f/x"})", "E:read: f/x: not a directory"},
      {R"({"file_path":""})", "E:read: file_path is required"},
      {R"({"file_path":null})", "E:read: file_path is required"},
      {R"({})", "E:read: file_path is required"},
      {R"({"file_path":5})", "E:read: file_path must be a string"},
      {R"({"file_path":["f"]})", "E:read: file_path must be a string"},
  };
  for (const auto& [json, says] : table) EXPECT_EQ(say("read", json), says) << json;
}

TEST_F(Read, TheLimitIsExact) {
  context.read_limit = 10;
  put("ten", "123456789\n");
  put("eleven", "1234567890\n");
  put("lines", "1234\n5678\n90\n" + std::string(200'000, 'x') + "\nlast");
  EXPECT_EQ(say("read", R"({"file_path":"ten"})"), "123456789\n");
  EXPECT_EQ(
      say("read", R"({"file_path":"eleven"})"),
      "E:read: eleven is 11 bytes, exceeds 10-byte limit. Use the view_range parameter to read "
      "specific line ranges, e.g. view_range: [1, 500].");
  EXPECT_EQ(say("read", R"({"file_path":"lines","view_range":[1,2]})"), "1234\n5678");
  EXPECT_EQ(say("read", R"({"file_path":"lines","view_range":[5,5]})"), "last");
  EXPECT_EQ(
      say("read", R"({"file_path":"lines","view_range":[1,3]})"),
      "E:read: view_range [1, 3] of lines exceeds 10-byte limit. Narrow the view_range to read a "
      "smaller portion.");
  EXPECT_EQ(
      say("read", R"({"file_path":"lines","view_range":[4,4]})"),
      "E:read: line 4 of lines alone exceeds 10-byte limit. The read tool cannot return part of a "
      "line, so view_range cannot narrow this further.");
  context.read_limit = 0;
  EXPECT_EQ(run("read", R"({"file_path":"lines","view_range":[4,4]})").content.size(), 200'000u);
}

TEST_F(Read, AHugeSparseFileIsRefusedByItsSizeAndReadableByLines) {
  put("huge", "first\nsecond\n");
  std::filesystem::resize_file(work + "/huge", 1ull << 40);
  EXPECT_EQ(say("read", R"({"file_path":"huge"})").substr(0, 41),
            "E:read: huge is 1099511627776 bytes, exce");
  EXPECT_EQ(say("read", R"({"file_path":"huge","view_range":[2,2]})"), "second");
  EXPECT_EQ(say("read", R"({"file_path":"huge","view_range":[3,3]})").substr(0, 43),
            "E:read: line 3 of huge alone exceeds 262144");
  EXPECT_EQ(say("edit", R"({"file_path":"huge","old_string":"a","new_string":"b"})"),
            "E:edit: huge is 1099511627776 bytes, exceeds 262144-byte limit. The edit tool loads "
            "the whole "
            "file and cannot modify a file this large.");
}

TEST_F(Read, NothingButRegularFilesIsOpened) {
  ASSERT_EQ(::mkfifo((work + "/fifo").c_str(), 0600), 0);
  std::filesystem::create_symlink("/dev/zero", work + "/zero");
  context.allowed_roots = {{"/dev", false}};
  EXPECT_EQ(say("read", R"({"file_path":"fifo"})"), "E:read: fifo is not a regular file");
  EXPECT_EQ(say("read", R"({"file_path":"zero"})"), "E:read: zero is not a regular file");
  EXPECT_EQ(say("read", R"({"file_path":"zero","view_range":[1,2]})"),
            "E:read: zero is not a regular file");
  EXPECT_EQ(say("edit", R"({"file_path":"fifo","old_string":"a","new_string":"b"})"),
            "E:edit: fifo is not a regular file");
  EXPECT_EQ(say("grep", R"({"pattern":"x"})"), "no matches");
  EXPECT_EQ(say("grep", R"({"pattern":"x","path":"zero"})"), "no matches");
}

using Write = ToolTest;

TEST_F(Write, SaysWhatTheTableSays) {
  put("f", "old");
  put("dir/x");
  const Row table[] = {
      {R"({"file_path":"new","content":"h\u00e9"})", "wrote 3 bytes to new"},
      {R"({"file_path":"f","content":"x"})", "wrote 1 bytes to f"},
      {R"({"file_path":"f/","content":"x"})", "wrote 1 bytes to f/"},
      {R"({"file_path":"a/b/c/d","content":"x"})", "wrote 1 bytes to a/b/c/d"},
      {R"({"file_path":"nothing"})", "wrote 0 bytes to nothing"},
      {R"({"file_path":"lone","content":"a\ud800b\udc00\ud83d\ude00"})", "wrote 12 bytes to lone"},
      {R"({"file_path":"nul","content":"a\u0000b"})", "wrote 3 bytes to nul"},
      {R"({"file_path":"dir","content":"x"})", "E:write: dir: is a directory"},
      {R"({"file_path":".","content":"x"})", "E:write: .: is a directory"},
      {R"({"file_path":"f/x","content":"x"})", "E:write: f/x: not a directory"},
      {R"({"file_path":"f/x/y","content":"x"})", "E:write: f/x/y: not a directory"},
      {R"({"file_path":"","content":"x"})", "E:write: file_path is required"},
      {R"({"content":"x"})", "E:write: file_path is required"},
      {R"({"file_path":"f","content":7})", "E:write: content must be a string"},
  };
  for (const auto& [json, says] : table) EXPECT_EQ(say("write", json), says) << json;
  EXPECT_EQ(get("lone"),
            "a\xef\xbf\xbd"
            "b\xef\xbf\xbd\xf0\x9f\x98\x80");
  EXPECT_EQ(get("nul"), std::string("a\0b", 3));
}

TEST_F(Write, NewIsPrivateAndOldKeepsItsPermissions) {
  put("script", "old");
  ::chmod((work + "/script").c_str(), 0755);
  run("write", R"({"file_path":"script","content":"new"})");
  run("write", R"({"file_path":"d/e/f","content":"new"})");
  EXPECT_EQ(mode("script"), 0755u);
  EXPECT_EQ(mode("d/e/f"), 0600u);
  EXPECT_EQ(mode("d"), 0700u);
  EXPECT_EQ(mode("d/e"), 0700u);
}

TEST_F(Write, ReplacesTheFileInsteadOfWritingIntoIt) {
  put("f", "old");
  std::filesystem::create_hard_link(work + "/f", work + "/other");
  run("write", R"({"file_path":"f","content":"new"})");
  EXPECT_EQ(get("f"), "new");
  EXPECT_EQ(get("other"), "old");
}

TEST_F(Write, GoesThroughALinkAndKeepsIt) {
  put("real", "old");
  link("real", "alias");
  link("made", "dangling");
  EXPECT_EQ(say("write", R"({"file_path":"alias","content":"new"})"), "wrote 3 bytes to alias");
  EXPECT_EQ(say("write", R"({"file_path":"dangling","content":"new"})"),
            "wrote 3 bytes to dangling");
  EXPECT_TRUE(std::filesystem::is_symlink(work + "/alias"));
  EXPECT_EQ(get("real"), "new");
  EXPECT_EQ(get("made"), "new");
}

TEST_F(Write, AMissingWorkDirectoryIsNotMadeAsAFile) {
  std::filesystem::remove(work);
  EXPECT_EQ(say("write", R"({"file_path":".","content":"x"})"), "E:write: .: is a directory");
  EXPECT_FALSE(std::filesystem::exists(work));
}

// What a full disk does, as near as an unprivileged process gets to one.
TEST_F(Write, AFailureLeavesTheOldFileAndNothingElse) {
  put("f", "old");
  pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::string json = str(R"({"file_path":"f","content":")", std::string(5000, 'x'), R"("})");
    ::_exit(say("write", json) == "E:write: f: i/o error (EFBIG)" ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(get("f"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(work), {}), 1);
}

using Edit = ToolTest;

TEST_F(Edit, SaysWhatTheTableSays) {
  struct EditRow {
    std::string before, json, says, after;
  };
  const EditRow table[] = {
      {"one two", R"("old_string":"two","new_string":"2")", "edited f (1 replacement(s))", "one 2"},
      {"one two", R"("old_string":"two","new_string":"")", "edited f (1 replacement(s))", "one "},
      {"one two", R"("old_string":"two","new_string":"2","replace_all":true)",
       "edited f (1 replacement(s))", "one 2"},
      {"aXaXa", R"("old_string":"a","new_string":"bb","replace_all":true)",
       "edited f (3 replacement(s))", "bbXbbXbb"},
      {"aaaa", R"("old_string":"aa","new_string":"b","replace_all":true)",
       "edited f (2 replacement(s))", "bb"},
      {"aaa", R"("old_string":"aa","new_string":"b")", "edited f (1 replacement(s))", "ba"},
      {"x", R"("old_string":"x","new_string":"$& $1 \\1")", "edited f (1 replacement(s))",
       "$& $1 \\1"},
      {"a.b", R"("old_string":".","new_string":"-")", "edited f (1 replacement(s))", "a-b"},
      {"\xff é \xfe", R"("old_string":"\u00e9","new_string":"e")", "edited f (1 replacement(s))",
       "\xff e \xfe"},
      {"aXa", R"("old_string":"a","new_string":"b")",
       "E:edit: old_string appears 2 times in f (must be unique)", "aXa"},
      {"aXa", R"("old_string":"a","new_string":"b","replace_all":false)",
       "E:edit: old_string appears 2 times in f (must be unique)", "aXa"},
      {"abc", R"("old_string":"z","new_string":"b")", "E:edit: old_string not found in f", "abc"},
      {"", R"("old_string":"z","new_string":"b","replace_all":true)",
       "E:edit: old_string not found in f", ""},
      {"abc", R"("old_string":"","new_string":"b")", "E:edit: old_string is required", "abc"},
      {"abc", R"("new_string":"b")", "E:edit: old_string is required", "abc"},
      {"abc", R"("old_string":"a")", "E:edit: new_string is required", "abc"},
      {"abc", R"("old_string":"a","new_string":{})", "E:edit: new_string must be a string", "abc"},
      {"abc", R"("old_string":"a","new_string":"b","replace_all":"yes")",
       "E:edit: replace_all must be a boolean", "abc"},
  };
  for (const auto& [before, json, says, after] : table) {
    put("f", before);
    EXPECT_EQ(say("edit", "{\"file_path\":\"f\"," + json + "}"), says) << json;
    EXPECT_EQ(get("f"), after) << json;
  }
  EXPECT_EQ(say("edit", R"({"file_path":"none","old_string":"a","new_string":"b"})"),
            "E:edit: none: no such file or directory");
  EXPECT_EQ(say("edit", R"({"file_path":".","old_string":"a","new_string":"b"})"),
            "E:edit: . is not a regular file");
  EXPECT_EQ(say("edit", R"({"old_string":"a","new_string":"b"})"), "E:edit: file_path is required");
}

TEST_F(Edit, KeepsPermissions) {
  put("f", "x");
  ::chmod((work + "/f").c_str(), 0751);
  run("edit", R"({"file_path":"f","old_string":"x","new_string":"y"})");
  EXPECT_EQ(mode("f"), 0751u);
}

TEST_F(Edit, AResultTooLargeForMemoryIsRefused) {
  put("f", std::string(200'000, 'a'));
  std::string json = str(R"({"file_path":"f","old_string":"a","replace_all":true,"new_string":")",
                         std::string(100'000, 'b'), R"("})");
  EXPECT_EQ(say("edit", json), "E:edit: the result would exceed 67108864 bytes");
  EXPECT_EQ(get("f").size(), 200'000u);
}

TEST_F(Edit, AFailureToSaveSaysSo) {
  if (::geteuid() == 0) {
    // Root passes every permission: let the file system itself refuse.
    put("f", std::string(2000, 'a') + "b");
    pid_t child = ::fork();
    if (child == 0) {
      ::signal(SIGXFSZ, SIG_IGN);
      rlimit limit{1000, 1000};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      std::string text = say("edit", R"({"file_path":"f","old_string":"b","new_string":"c"})");
      ::_exit(text == "E:edit: write: f: i/o error (EFBIG)" ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  } else {
    put("d/f", "b");
    ::chmod((work + "/d").c_str(), 0500);
    EXPECT_EQ(say("edit", R"({"file_path":"d/f","old_string":"b","new_string":"c"})"),
              "E:edit: write: d/f: permission denied");
    ::chmod((work + "/d").c_str(), 0700);
  }
}

using RunTool = ToolTest;

TEST_F(RunTool, AnswersWhateverTheInputIs) {
  const Row table[] = {
      {"", "E:read: input is not valid JSON: "},
      {"{", "E:read: input is not valid JSON: "},
      {"{} x", "E:read: input is not valid JSON: "},
      {"[]", "E:read: input must be a JSON object"},
      {"null", "E:read: input must be a JSON object"},
      {"\"f\"", "E:read: input must be a JSON object"},
      {std::string(100'000, '['), "E:read: input is not valid JSON: "},
      {R"({"file_path":"\ud800"})", "E:read: \xef\xbf\xbd: no such file or directory"},
      {"{\"file_path\":\"\xff\"}", "E:read: \xef\xbf\xbd: no such file or directory"},
      {R"({"file_path":"\\ud800"})", "E:read: \\ud800: no such file or directory"},
  };
  for (const auto& [json, says] : table)
    EXPECT_EQ(say("read", json).substr(0, says.size()), says) << json.substr(0, 50);
  EXPECT_EQ(say("rm", "{}"), "E:unknown tool: rm");
}

TEST_F(RunTool, TheLaterOfTwoEqualKeysCounts) {
  put("b", "second");
  EXPECT_EQ(say("read", R"({"file_path":"a","file_path":"b"})"), "second");
}

TEST(Encode, IsJson) {
  EXPECT_EQ(encode({"a\"b\n", true}), R"({"content":"a\"b\n","is_error":true})");
  EXPECT_EQ(encode({"\xff", false}), "{\"content\":\"\xef\xbf\xbd\",\"is_error\":false}");
}

}  // namespace
}  // namespace glovebox::tools

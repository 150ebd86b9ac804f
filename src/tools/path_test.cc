#include <gtest/gtest.h>

#include <cerrno>

#include "tools/fs.h"
#include "tools/place.h"
#include "tools/test_dir.h"

namespace glovebox::tools {
namespace {

TEST(Absolute, FoldsDotsAsText) {
  EXPECT_EQ(absolute("/a/b", "c"), "/a/b/c");
  EXPECT_EQ(absolute("/a/b", "/c"), "/c");
  EXPECT_EQ(absolute("/a/b", ".././x//y/"), "/a/x/y");
  EXPECT_EQ(absolute("/a", "../../../x"), "/x");
  EXPECT_EQ(absolute("/a", ""), "/a");
  EXPECT_EQ(absolute("/", ".."), "/");
}

TEST(IsWithin, ComparesWholeNames) {
  EXPECT_TRUE(is_within("/a", "/a"));
  EXPECT_TRUE(is_within("/a", "/a/b"));
  EXPECT_TRUE(is_within("/", "/a"));
  EXPECT_FALSE(is_within("/a", "/ab"));
  EXPECT_FALSE(is_within("/a/b", "/a"));
}

TEST(Reason, HasAWordForEachErrorAndNeverAPath) {
  EXPECT_EQ(reason(ENOENT), "no such file or directory");
  EXPECT_EQ(reason(EACCES), "permission denied");
  EXPECT_EQ(reason(EPERM), "permission denied");
  EXPECT_EQ(reason(ENOTDIR), "not a directory");
  EXPECT_EQ(reason(EISDIR), "is a directory");
  EXPECT_EQ(reason(ELOOP), "too many levels of symbolic links");
  EXPECT_EQ(reason(ENAMETOOLONG), "file name too long");
  EXPECT_EQ(reason(ENOSPC), "no space left on device");
  EXPECT_EQ(reason(EMFILE), "too many open files");
  EXPECT_EQ(reason(ENFILE), "too many open files");
  EXPECT_EQ(reason(EIO), "i/o error (EIO)");
  EXPECT_EQ(reason(0), "i/o error");
}

using Paths = ToolTest;

TEST_F(Paths, CanonicalFollowsLinksAndKeepsWhatIsMissing) {
  put("dir/file");
  link("dir", "to_dir");
  link("missing/../dir/new", "odd");
  link("to_dir/../dir/file", "up");
  EXPECT_EQ(canonical(work + "/to_dir/file"), work + "/dir/file");
  EXPECT_EQ(canonical(work + "/to_dir/a/b"), work + "/dir/a/b");
  EXPECT_EQ(canonical(work + "/odd"), work + "/dir/new");
  EXPECT_EQ(canonical(work + "/up"), work + "/dir/file");
  EXPECT_EQ(canonical("/"), "/");
}

TEST_F(Paths, FortyLinksAreFollowedAndFortyOneAreNot) {
  put("0", "found");
  for (int i = 1; i <= 41; ++i) link(std::to_string(i - 1), std::to_string(i));
  EXPECT_EQ(say("read", R"({"file_path":"40"})"), "found");
  EXPECT_EQ(say("read", R"({"file_path":"41"})"),
            R"(E:path "41": too many levels of symbolic links)");
}

struct Escape {
  std::string path, says;
};

TEST_F(Paths, WhatLeadsOutsideIsRefused) {
  std::filesystem::create_directory(top + "/secret");
  std::ofstream(top + "/secret/key") << "S3CRET";
  std::filesystem::create_directory(top + "/work2");
  put("file", "fine");
  put("dir/x", "x");
  link("../../secret", "dir/out");
  link(top + "/secret/key", "abs");
  link("../secret/none", "dangling");
  link("loop", "loop");
  link("dir/out", "twice");
  const std::string outside = " is outside the session's working directory";
  const Escape table[] = {
      {"../secret/key", "E:path \"../secret/key\"" + outside},
      {"dir/../../secret/key", "E:path \"dir/../../secret/key\"" + outside},
      {top + "/secret/key", "E:path \"TOP/secret/key\"" + outside},
      {"/etc/passwd", "E:path \"/etc/passwd\"" + outside},
      {"../work2", "E:path \"../work2\"" + outside},  // only looks like the work directory
      {"..", "E:path \"..\"" + outside},
      {"abs", "E:path \"abs\"" + outside},
      {"dir/out/key", "E:path \"dir/out/key\"" + outside},
      {"twice/key", "E:path \"twice/key\"" + outside},
      {"dangling", "E:path \"dangling\"" + outside},
      {"/proc/self/root/etc/passwd", "E:path \"/proc/self/root/etc/passwd\"" + outside},
      {"loop", "E:path \"loop\": too many levels of symbolic links"},
      {"loop/x", "E:path \"loop/x\": too many levels of symbolic links"},
      {std::string(256, 'n'), "E:path \"" + std::string(256, 'n') + "\": file name too long"},
      {"a\\u0000b", "E:path \"a\\u0000b\": i/o error (ERR_INVALID_ARG_VALUE)"},
      {"q\\\"\\n", "E:read: q\"\n: no such file or directory"},
      // ".." is folded before any link is followed, as the official tools do.
      {"dir/out/../file", "E:read: dir/out/../file: no such file or directory"},
      {work + "/file", "fine"},
      {"./dir/.././file", "fine"},
      {"file/", "fine"},
  };
  for (const auto& [path, says] : table)
    EXPECT_EQ(say("read", "{\"file_path\":\"" + path + "\"}"), says);
  for (const char* path :
       {"abs", "dangling", "dir/out/new", "twice/new", "../new", "../work2/new"}) {
    EXPECT_TRUE(run("write", str(R"({"file_path":")", path, R"(","content":"x"})")).is_error)
        << path;
    EXPECT_TRUE(
        run("edit", str(R"({"file_path":")", path, R"(","old_string":"S3CRET","new_string":"x"})"))
            .is_error)
        << path;
  }
  EXPECT_EQ(get("../secret/key"), "S3CRET");
  EXPECT_FALSE(std::filesystem::exists(top + "/secret/new"));
  EXPECT_FALSE(std::filesystem::exists(top + "/secret/none"));
}

TEST_F(Paths, AllowedRootsAreReachedAndNamed) {
  for (const char* name : {"/memory", "/fixed"}) std::filesystem::create_directory(top + name);
  std::ofstream(top + "/memory/m") << "remembered";
  context.allowed_roots = {{top + "/memory", false}, {top + "/fixed", true}};
  link("../memory", "mem");
  EXPECT_EQ(say("read", R"({"file_path":"../memory/m"})"), "remembered");
  EXPECT_EQ(say("read", R"({"file_path":"mem/m"})"), "remembered");
  EXPECT_EQ(say("write", R"({"file_path":"mem/n","content":"x"})"), "wrote 1 bytes to mem/n");
  EXPECT_EQ(say("write", R"({"file_path":"../fixed/n","content":"x"})"),
            "E:write: ../fixed/n is inside read-only directory TOP/fixed");
  EXPECT_EQ(say("edit", R"({"file_path":"../fixed/n","old_string":"a","new_string":"x"})"),
            "E:edit: ../fixed/n is inside read-only directory TOP/fixed");
  EXPECT_EQ(say("read", R"({"file_path":"../x"})"),
            "E:path \"../x\" is outside the session's working directory and its other permitted "
            "directories");
}

TEST_F(Paths, AWorkDirectoryBehindALinkWorks) {
  put("file", "fine");
  std::filesystem::create_symlink("work", top + "/alias");
  context.workdir = top + "/alias";
  EXPECT_EQ(say("read", R"({"file_path":"file"})"), "fine");
  EXPECT_EQ(say("read", str(R"({"file_path":")", top, R"(/alias/file"})")), "fine");
  EXPECT_EQ(say("glob", R"({"pattern":"*"})"), "TOP/alias/file");
  EXPECT_EQ(say("grep", R"({"pattern":"fine"})"), "TOP/alias/file:1:fine");
}

TEST_F(Paths, WhatIsSwappedForALinkAfterTheCheckIsNotFollowed) {
  put("dir/file", "inside");
  std::filesystem::create_directory(top + "/secret");
  std::ofstream(top + "/secret/file") << "S3CRET";
  auto checked = locate(context, "dir/file");
  ASSERT_TRUE(checked);
  std::filesystem::rename(work + "/dir", work + "/old");
  link("../secret", "dir");
  EXPECT_EQ(open_regular(checked->path).error(), ENOTDIR);
  EXPECT_EQ(open_dir(work + "/dir").error(), ENOTDIR);

  std::filesystem::remove(work + "/dir");
  std::filesystem::create_directory(work + "/dir");
  link("../../secret/file", "dir/file");
  EXPECT_EQ(open_regular(checked->path).error(), ELOOP);
}

}  // namespace
}  // namespace glovebox::tools

#include "image/copy.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/fd.h"
#include "base/temp_dir.h"
#include "image/pattern.h"

namespace glovebox::image {
namespace {

namespace fs = std::filesystem;

TEST(Pattern, MatchesAsShellsDoWithinOneName) {
  EXPECT_TRUE(matches("*.txt", "a.txt"));
  EXPECT_TRUE(matches("a*b*c", "a1b2b3c"));
  EXPECT_FALSE(matches("a*b", "ab1"));
  EXPECT_TRUE(matches("?[a-c]", "xb"));
  EXPECT_FALSE(matches("[^a-c]", "b"));
  EXPECT_TRUE(matches("\\*", "*"));
  EXPECT_FALSE(matches("\\*", "x"));
  EXPECT_FALSE(matches("[a", "a"));
  EXPECT_TRUE(matches("*", ""));
}

class CopyTest : public ::testing::Test {
 protected:
  CopyTest() {
    top = make_temp_dir("glovebox-copy-test");
    for (const char* dir : {"/from", "/to", "/from/src", "/from/src/sub"})
      fs::create_directory(top + dir);
    put("from/a.txt", "A");
    put("from/b.txt", "B");
    put("from/src/main.c", "C");
    put("from/src/sub/deep", "D");
  }
  ~CopyTest() override { fs::remove_all(top); }
  void put(const std::string& path, const std::string& text) {
    std::ofstream(top + "/" + path) << text;
  }
  std::string read(const std::string& path) {
    std::ifstream file(top + "/to/" + path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Result<void> run(CopyPlan plan) {
    Report report = reporter();
    return copy(from().get(), to().get(), plan, report);
  }
  std::string name(CopyPlan plan) {
    Report report = reporter();
    auto made = digest(from().get(), plan, report);
    return made ? *made : "error: " + made.error().what;
  }
  Fd from() { return Fd(::open((top + "/from").c_str(), O_RDONLY | O_DIRECTORY)); }
  Fd to() { return Fd(::open((top + "/to").c_str(), O_RDONLY | O_DIRECTORY)); }
  Report reporter() {
    Report report(null.get());
    report.set_limits({1 << 20, 1000, 0}, -1);
    return report;
  }
  std::string top;
  Fd null{::open("/dev/null", O_WRONLY)};
};

TEST_F(CopyTest, AFileGoesToAFileOrIntoADirectory) {
  ASSERT_TRUE(run({{"a.txt"}, "/x/y", "", {}, false}));
  EXPECT_EQ(read("x/y"), "A");
  ASSERT_TRUE(run({{"a.txt"}, "/x/", "", {}, false}));
  EXPECT_EQ(read("x/a.txt"), "A");
  ASSERT_TRUE(run({{"b.txt"}, "/x", "", {}, false}));
  EXPECT_EQ(read("x/b.txt"), "B");
}

TEST_F(CopyTest, OfADirectoryTheContentIsCopied) {
  ASSERT_TRUE(run({{"src"}, "/app", "", {}, false}));
  EXPECT_EQ(read("app/main.c"), "C");
  EXPECT_EQ(read("app/sub/deep"), "D");
  EXPECT_FALSE(fs::exists(top + "/to/app/src"));
}

TEST_F(CopyTest, PatternsNeedADirectoryAndMustFindSomething) {
  EXPECT_FALSE(run({{"*.txt"}, "/one", "", {}, false}));
  ASSERT_TRUE(run({{"*.txt"}, "/two/", "", {}, false}));
  EXPECT_EQ(read("two/a.txt") + read("two/b.txt"), "AB");
  EXPECT_FALSE(run({{"*.nothing"}, "/two/", "", {}, false}));
  EXPECT_FALSE(run({{"missing"}, "/two/", "", {}, false}));
}

TEST_F(CopyTest, NothingComesFromOrGoesOutside) {
  put("secret", "s");
  fs::create_symlink("../secret", top + "/from/leak");
  fs::create_symlink(top, top + "/to/out");
  EXPECT_FALSE(run({{"../secret"}, "/x", "", {}, false}));
  EXPECT_FALSE(run({{"leak"}, "/x", "", {}, false}));
  EXPECT_FALSE(run({{"a.txt"}, "/out/secret", "", {}, false}));
  EXPECT_FALSE(run({{"a.txt"}, "/../x", "", {}, false}));
  std::ifstream file(top + "/secret");
  std::string word;
  file >> word;
  EXPECT_EQ(word, "s");
}

TEST_F(CopyTest, OwnersAreLookedUpInTheTree) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
  fs::create_directory(top + "/to/etc");
  put("to/etc/passwd", "root:x:0:0::/:\napp:x:1234:99::/:\n");
  ASSERT_TRUE(run({{"a.txt"}, "/f", "app", 0600, false}));
  struct stat info{};
  ASSERT_EQ(::lstat((top + "/to/f").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, 1234u);
  EXPECT_EQ(info.st_gid, 99u);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_FALSE(run({{"a.txt"}, "/f", "nobody-here", {}, false}));
}

TEST_F(CopyTest, ADigestNamesWhatIsCopiedAndNothingElse) {
  std::string before = name({{"src"}, "/app", "", {}, false});
  EXPECT_EQ(before.size(), 64u) << before;
  put("from/a.txt", "another");
  EXPECT_EQ(name({{"src"}, "/app", "", {}, false}), before);
  put("from/src/sub/deep", "changed");
  EXPECT_NE(name({{"src"}, "/app", "", {}, false}), before);
}

}  // namespace
}  // namespace glovebox::image

#include "cli/local_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace glovebox::cli {
namespace {

namespace fs = std::filesystem;

class LocalFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "glovebox-cli-XXXXXX").string();
    ASSERT_TRUE(::mkdtemp(pattern.data()));
    dir_ = pattern;
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string path(const char* name) const { return dir_ + "/" + name; }
  void put(const char* name, std::string_view text) { std::ofstream(path(name)) << text; }
  std::string get(const char* name) {
    std::ifstream file(path(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(dir_), {}));
  }
  std::string dir_;
};

TEST(CopyEnds, AColonBeforeTheFirstSlashNamesABox) {
  EXPECT_EQ(parse_copy_end("box:/a/b")->box, "box");
  EXPECT_EQ(parse_copy_end("box:/a/b")->path, "/a/b");
  EXPECT_EQ(parse_copy_end("./a:b")->box, "");
  EXPECT_EQ(parse_copy_end("/a:b")->path, "/a:b");
  EXPECT_TRUE(parse_copy_end("-")->is_stream());
  EXPECT_FALSE(parse_copy_end("box:relative"));
  EXPECT_FALSE(parse_copy_end(""));
}

TEST(CopyEnds, BaseNameIgnoresSlashesAtTheEnd) {
  EXPECT_EQ(base_name("/a/b//"), "b");
  EXPECT_EQ(base_name("b"), "b");
}

TEST_F(LocalFile, UncommittedTargetLeavesTheOldFileAndNothingElse) {
  put("x", "old");
  {
    auto target = TargetFile::create({"", path("x")}, "n");
    ASSERT_TRUE(target);
    ASSERT_TRUE(target->write("half of the n"));
  }
  EXPECT_EQ(get("x"), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(LocalFile, CommittedTargetReplacesContentAndKeepsTheMode) {
  put("x", "old");
  ASSERT_EQ(::chmod(path("x").c_str(), 0640), 0);
  auto target = TargetFile::create({"", path("x")}, "n");
  ASSERT_TRUE(target);
  ASSERT_TRUE(target->write("new"));
  ASSERT_TRUE(target->commit());
  EXPECT_EQ(get("x"), "new");
  struct stat info{};
  ::stat(path("x").c_str(), &info);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_EQ(entries(), 1u);
}

TEST_F(LocalFile, ADirectoryTakesTheSourcesName) {
  auto target = TargetFile::create({"", dir_}, "name");
  ASSERT_TRUE(target);
  ASSERT_TRUE(target->write("x"));
  ASSERT_TRUE(target->commit());
  EXPECT_EQ(get("name"), "x");
}

TEST_F(LocalFile, ALinkKeepsPointingAndItsTargetIsReplaced) {
  put("real", "old");
  fs::create_symlink("real", path("link"));
  auto target = TargetFile::create({"", path("link")}, "n");
  ASSERT_TRUE(target);
  ASSERT_TRUE(target->write("new"));
  ASSERT_TRUE(target->commit());
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(get("real"), "new");
}

TEST_F(LocalFile, SourceGivesItsLengthAndBytes) {
  put("x", "content");
  auto source = SourceFile::open({"", path("x")});
  ASSERT_TRUE(source);
  EXPECT_EQ(source->length(), 7u);
  EXPECT_EQ(*source->read(), "content");
  EXPECT_EQ(*source->read(), "");
}

TEST_F(LocalFile, ADirectoryAsSourceSaysHowToCopyIt) {
  auto source = SourceFile::open({"", dir_});
  ASSERT_FALSE(source);
  EXPECT_NE(source.error().what.find("tar"), std::string::npos);
}

}  // namespace
}  // namespace glovebox::cli

#include "cli/folder_tar.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"

namespace glovebox::cli {
namespace {

namespace fs = std::filesystem;

TEST(IgnoreList, TheLastRuleThatFitsHasTheSay) {
  auto list = IgnoreList::parse("# comment\n*.log\n!keep.log\nbuild\n**/cache\na/*/c\n");
  EXPECT_TRUE(list.ignores("x.log"));
  EXPECT_FALSE(list.ignores("keep.log"));
  EXPECT_FALSE(list.ignores("sub/x.log"));
  EXPECT_TRUE(list.ignores("build/deep/file"));
  EXPECT_TRUE(list.ignores("cache"));
  EXPECT_TRUE(list.ignores("x/y/cache"));
  EXPECT_TRUE(list.ignores("a/b/c"));
  EXPECT_FALSE(list.ignores("a/c"));
}

TEST(FolderTar, HoldsWhatIsThereAndNotWhatIsIgnored) {
  std::string top = make_temp_dir("glovebox-tar-test");
  fs::create_directories(top + "/in/sub");
  std::ofstream(top + "/in/a") << std::string(100'000, 'a');
  std::ofstream(top + "/in/sub/" + std::string(150, 'n')) << "long name";
  std::ofstream(top + "/in/secret") << "x";
  std::ofstream(top + "/in/.dockerignore") << "secret\n";
  fs::create_symlink("a", top + "/in/link");
  auto tar = FolderTar::open(top + "/in");
  ASSERT_TRUE(tar);
  {
    std::ofstream file(top + "/out.tar", std::ios::binary);
    for (;;) {
      auto piece = tar->read();
      ASSERT_TRUE(piece) << piece.error().what;
      if (piece->empty()) break;
      file << *piece;
    }
  }
  fs::create_directory(top + "/out");
  ASSERT_EQ(std::system(("tar -xf " + top + "/out.tar -C " + top + "/out").c_str()), 0);
  fs::remove(top + "/in/secret");
  EXPECT_EQ(std::system(("diff -r --no-dereference " + top + "/in " + top + "/out").c_str()), 0);
  fs::remove_all(top);
}

}  // namespace
}  // namespace glovebox::cli

#include "orchestrator/host_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"

namespace glovebox::orchestrator {
namespace {

class HostTreeTest : public ::testing::Test {
 public:
  const std::string dir = make_temp_dir("glovebox-host-tree");
  ~HostTreeTest() override { std::filesystem::remove_all(dir); }
  void write(const std::string& path, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(dir + "/" + path).parent_path());
    std::ofstream(dir + "/" + path) << content;
  }
  static std::string read(const HostTree& tree, const std::string& path) {
    auto file = tree.file(path);
    if (!file) return "error";
    std::string text(100, '\0');
    text.resize(
        static_cast<std::size_t>(std::max<ssize_t>(0, ::read(file->get(), text.data(), 100))));
    return text;
  }
};

TEST_F(HostTreeTest, HasThePlainFilesAndNothingThatLeadsElsewhere) {
  write("open/a.txt", "a");
  write("open/deep/run.sh", "run");
  write("secret/key", "key");
  ::chmod((dir + "/open/deep/run.sh").c_str(), 0755);
  std::filesystem::create_symlink(dir + "/secret/key", dir + "/open/link");
  std::filesystem::create_symlink(dir + "/secret", dir + "/open/folder");
  ASSERT_EQ(::mkfifo((dir + "/open/pipe").c_str(), 0600), 0);
  auto tree = HostTree::open(dir + "/open", "");
  ASSERT_TRUE(tree) << tree.error().what;
  std::vector<std::string> names;
  for (const HostFile& file : tree->files())
    names.push_back(file.path + (file.executable ? "*" : ""));
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"a.txt", "deep/run.sh*"}));
  EXPECT_EQ(read(*tree, "deep/run.sh"), "run");
  for (const char* path : {"link", "folder/key", "../secret/key", "pipe"})
    EXPECT_EQ(read(*tree, path), "error") << path;
}

TEST_F(HostTreeTest, APartOfItOrOneFile) {
  write("a/b/c.txt", "c");
  std::filesystem::create_symlink(dir + "/a/b", dir + "/a/link");
  auto part = HostTree::open(dir + "/a", "b");
  ASSERT_TRUE(part) << part.error().what;
  EXPECT_EQ(read(*part, "c.txt"), "c");
  auto file = HostTree::open(dir + "/a", "b/c.txt");
  ASSERT_TRUE(file) << file.error().what;
  EXPECT_TRUE(file->is_file());
  EXPECT_EQ(read(*file, ""), "c");
  for (const char* below : {"missing", "link", "link/c.txt", "../a"})
    EXPECT_FALSE(HostTree::open(dir + "/a", below)) << below;
  EXPECT_FALSE(HostTree::open(dir + "/nowhere", ""));
}

}  // namespace
}  // namespace glovebox::orchestrator

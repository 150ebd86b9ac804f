#include "runner/local_files.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/temp_dir.h"
#include "net/task.h"

namespace glovebox::runner {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
namespace fs = std::filesystem;

template <class T>
Task<void> store_result(Task<T> task, Result<T>* into) {
  *into = co_await std::move(task);
  co_return ok;
}

class LocalFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir = make_temp_dir("glovebox-files");
    old_umask_ = ::umask(077);
    fs::create_directory(dir + "/outside");
    write(dir + "/outside/kept", "kept");
    fs::create_directory(dir + "/work");
    files = local_files(pool, dir + "/work");
    root = dir + "/mnt/memory/m1";
    memory = local_memory_folder(pool, root);
  }
  void TearDown() override {
    EXPECT_EQ(read(dir + "/outside/kept"), "kept");
    ::umask(old_umask_);
    fs::remove_all(dir);
  }
  static void write(const std::string& path, const std::string& content) {
    std::ofstream(path) << content;
  }
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static int mode(const std::string& path) {
    struct stat info{};
    return ::lstat(path.c_str(), &info) < 0 ? -1 : static_cast<int>(info.st_mode & 07777);
  }
  template <class T>
  Result<T> run(Task<T> task) {
    if constexpr (std::is_void_v<T>) {
      return net::run(loop, std::move(task));
    } else {
      Result<T> result;
      (void)net::run(loop, store_result(std::move(task), &result));
      return result;
    }
  }

  net::Loop loop;
  net::Pool pool{1};
  std::string dir, root;
  std::shared_ptr<Files> files;
  std::shared_ptr<MemoryFolder> memory;

 private:
  mode_t old_umask_ = 0;
};

TEST_F(LocalFilesTest, FoldersAndFilesHaveTheirModesWhateverTheUmask) {
  ASSERT_TRUE(run(files->make_folder("skills/pdf")));
  ASSERT_TRUE(run(files->make_folder("skills/pdf")));
  ASSERT_TRUE(run(files->write_file("skills/pdf/run", "x", 0755)));
  ASSERT_TRUE(run(files->write_file("skills/pdf/a", "", 0644)));
  EXPECT_EQ(mode(dir + "/work/skills"), 0700);
  EXPECT_EQ(mode(dir + "/work/skills/pdf"), 0700);
  EXPECT_EQ(mode(dir + "/work/skills/pdf/run"), 0755);
  EXPECT_EQ(mode(dir + "/work/skills/pdf/a"), 0644);
  EXPECT_FALSE(run(files->write_file("skills/pdf/a", "again", 0644)));
  ASSERT_TRUE(run(files->remove_tree("skills/pdf")));
  ASSERT_TRUE(run(files->remove_tree("skills/pdf")));
  EXPECT_TRUE(fs::is_empty(dir + "/work/skills"));
}

TEST_F(LocalFilesTest, NoLinkIsFollowed) {
  fs::create_symlink(dir + "/outside", dir + "/work/skills");
  EXPECT_FALSE(run(files->make_folder("skills")));
  EXPECT_FALSE(run(files->make_folder("skills/pdf")));
  EXPECT_FALSE(run(files->write_file("skills/a", "x", 0644)));
  EXPECT_TRUE(run(files->remove_tree("skills/kept")));
  EXPECT_TRUE(run(files->remove_tree("skills")));  // the link
  ASSERT_TRUE(run(files->make_folder("skills")));
  fs::create_symlink(dir + "/outside/kept", dir + "/work/skills/a");
  EXPECT_FALSE(run(files->write_file("skills/a", "x", 0644)));
}

TEST_F(LocalFilesTest, NoPathClimbs) {
  for (const char* path : {"../outside/x", "a/../../outside/x", "", "/", "a//b", "./a"}) {
    EXPECT_FALSE(run(files->make_folder(path))) << path;
    EXPECT_FALSE(run(files->write_file(path, "x", 0644))) << path;
    EXPECT_FALSE(run(files->remove_tree(path))) << path;
  }
}

TEST_F(LocalFilesTest, AMemoryFolderIsMadeWithTheFoldersAboveIt) {
  EXPECT_FALSE(*run(memory->exists()));
  ASSERT_TRUE(run(memory->create()));
  EXPECT_TRUE(*run(memory->exists()));
  EXPECT_EQ(mode(root), 0700);
  EXPECT_EQ(mode(dir + "/mnt"), 0700);
  ASSERT_TRUE(run(memory->remove_all()));
  EXPECT_FALSE(*run(memory->exists()));
  ASSERT_TRUE(run(memory->remove_all()));
}

TEST_F(LocalFilesTest, AFolderIsTakenOverOnlyFromOneOfOursThatIsGone) {
  ASSERT_TRUE(run(memory->create()));
  if (::getxattr(root.c_str(), "user.glovebox.memory", nullptr, 0) < 0)
    GTEST_SKIP() << "this file system has no attributes";
  auto next = local_memory_folder(pool, root);
  EXPECT_FALSE(*run(next->claim()));  // it has it still
  memory.reset();
  EXPECT_TRUE(*run(next->claim()));
  EXPECT_FALSE(*run(local_memory_folder(pool, root)->claim()));
  fs::create_directories(dir + "/strange");
  EXPECT_FALSE(*run(local_memory_folder(pool, dir + "/strange")->claim()));
}

TEST_F(LocalFilesTest, ALinkAtThePlaceOfAMemoryFolderIsSomething) {
  fs::create_directories(dir + "/mnt/memory");
  fs::create_symlink("nowhere", root);
  EXPECT_TRUE(*run(memory->exists()));
  fs::remove(root);
  fs::create_symlink(dir + "/outside", root);
  EXPECT_FALSE(run(memory->write("a", "x")));
  auto scanned = run(memory->scan());
  EXPECT_TRUE(!scanned || scanned->empty());
}

TEST_F(LocalFilesTest, MemoriesAreWrittenInOneStepAndReadBack) {
  ASSERT_TRUE(run(memory->create()));
  ASSERT_TRUE(run(memory->write("a/b/c", "one")));
  ASSERT_TRUE(run(memory->write("a/b/c", "two")));
  EXPECT_EQ(*run(memory->read("a/b/c", 3)), "two");
  EXPECT_EQ(run(memory->read("a/b/c", 2)).error().code, Code::too_large);
  EXPECT_EQ(*run(memory->hash("a/b/c")), sha256_hex("two"));
  EXPECT_EQ(mode(root + "/a"), 0700);
  EXPECT_EQ(mode(root + "/a/b/c"), 0600);
  EXPECT_EQ(std::distance(fs::directory_iterator(root + "/a/b"), {}), 1);
  ASSERT_TRUE(run(memory->remove("a/b/c")));
  ASSERT_TRUE(run(memory->remove("a/b/c")));
  EXPECT_EQ(*run(memory->read("a/b/c", 10)), std::nullopt);
  EXPECT_EQ(*run(memory->hash("a/x/c")), std::nullopt);
}

TEST_F(LocalFilesTest, AFolderWhereAFileIsWantedLeavesNothingBehind) {
  ASSERT_TRUE(run(memory->create()));
  ASSERT_TRUE(run(memory->write("a/b", "x")));
  EXPECT_FALSE(run(memory->write("a", "x")));
  EXPECT_FALSE(run(memory->write("a/b/c", "x")));
  EXPECT_THAT(*run(memory->scan()), ElementsAre(Pair("a/b", sha256_hex("x"))));
  EXPECT_FALSE(run(memory->read("a", 10)));
}

TEST_F(LocalFilesTest, AWriteDoesNotMakeTheFolderAgain) {
  ASSERT_TRUE(run(memory->create()));
  ASSERT_TRUE(run(memory->remove_all()));
  EXPECT_FALSE(run(memory->write("a", "x")));
  EXPECT_FALSE(*run(memory->exists()));
  EXPECT_THAT(*run(memory->scan()), IsEmpty());
  EXPECT_EQ(*run(memory->hash("a")), std::nullopt);
  EXPECT_TRUE(run(memory->remove("a")));
}

TEST_F(LocalFilesTest, AScanSeesPlainFilesAlone) {
  ASSERT_TRUE(run(memory->create()));
  ASSERT_TRUE(run(memory->write("a", "1")));
  ASSERT_TRUE(run(memory->write("deep/er/b", "2")));
  fs::create_symlink(dir + "/outside", root + "/folder link");
  fs::create_symlink(dir + "/outside/kept", root + "/link");
  fs::create_symlink("/dev/zero", root + "/zero");
  ASSERT_EQ(::mkfifo((root + "/pipe").c_str(), 0600), 0);
  EXPECT_THAT(*run(memory->scan()),
              ElementsAre(Pair("a", sha256_hex("1")), Pair("deep/er/b", sha256_hex("2"))));
  EXPECT_FALSE(run(memory->read("link", 10)));
  EXPECT_FALSE(run(memory->read("pipe", 10)));
  EXPECT_EQ(*run(memory->read("folder link/kept", 10)), std::nullopt);
  EXPECT_FALSE(run(memory->write("folder link/new", "x")));
  ASSERT_TRUE(run(memory->write("link", "x")));  // the link is replaced
  EXPECT_EQ(*run(memory->read("link", 10)), "x");
}

TEST_F(LocalFilesTest, WhatIsTooLargeForAMemoryIsKnownByItsTimes) {
  ASSERT_TRUE(run(memory->create()));
  std::ofstream(root + "/big").close();
  fs::resize_file(root + "/big", std::uintmax_t{1} << 40);
  auto first = run(memory->hash("big")), second = run(memory->hash("big"));
  ASSERT_TRUE(first && *first);
  EXPECT_EQ(*first, *second);
  fs::resize_file(root + "/big", (std::uintmax_t{1} << 40) + 1);
  EXPECT_NE(*run(memory->hash("big")), *first);
}

}  // namespace
}  // namespace glovebox::runner

#include "sys/tree.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/fd.h"

namespace glovebox::sys {
namespace {

namespace fs = std::filesystem;

class Tree : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "tree-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    parent_ = Fd(::open(dir_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(parent_);
  }
  void TearDown() override {
    auto removed = remove_tree(dir_);
    EXPECT_TRUE(removed) << removed.error().what;
  }
  void write(const std::string& name, std::string_view text = "x") {
    std::ofstream(path(name)) << text;
  }
  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  bool exists(const std::string& name) const {
    return fs::symlink_status(path(name)).type() != fs::file_type::not_found;
  }
  Result<void> remove(const std::string& name) { return remove_tree(parent_.get(), name); }

  std::string dir_;
  Fd parent_;
};

// A chain of directories as deep as asked, each with a file; below a path no system call could
// take.
void make_deep(int parent, int depth) {
  Fd at(::openat(parent, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (int level = 0; level < depth; ++level) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0700), 0);
    Fd next(::openat(at.get(), "d", O_PATH | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(next);
    Fd file(::openat(next.get(), "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    at = std::move(next);
  }
}

TEST_F(Tree, WhatIsNotThereIsRemoved) { EXPECT_TRUE(remove("nothing")); }

TEST_F(Tree, RemovesFilesAndDirectories) {
  fs::create_directories(path("top/a/b/c"));
  fs::create_directories(path("top/empty"));
  write("top/a/b/c/file");
  write("top/a/file");
  write("single");
  EXPECT_TRUE(remove("top"));
  EXPECT_TRUE(remove("single"));
  EXPECT_FALSE(exists("top"));
  EXPECT_FALSE(exists("single"));
}

TEST_F(Tree, LinksAreRemovedAndNeverFollowed) {
  fs::create_directories(path("host/kept"));
  write("host/kept/secret");
  fs::create_directories(path("top/inner"));
  fs::create_symlink(path("host"), path("top/to-dir"));
  fs::create_symlink("../../host", path("top/inner/up"));
  fs::create_symlink(path("host/kept/secret"), path("top/to-file"));
  fs::create_symlink("/", path("top/root"));
  fs::create_symlink("loop", path("top/loop"));
  fs::create_symlink(path("host"), path("link"));
  EXPECT_TRUE(remove("top"));
  EXPECT_TRUE(remove("link"));  // the tree itself may be one
  EXPECT_FALSE(exists("top"));
  EXPECT_FALSE(exists("link"));
  EXPECT_TRUE(exists("host/kept/secret"));
}

TEST_F(Tree, NamesThatAreNoNamesAreRefused) {
  write("kept");
  for (const char* name : {"", ".", "..", "a/b", "/", "../x"}) {
    auto removed = remove(name);
    ASSERT_FALSE(removed) << name;
    EXPECT_EQ(removed.error().code, Code::invalid) << name;
  }
  EXPECT_FALSE(remove_tree("/"));
  EXPECT_FALSE(remove_tree("//"));
  EXPECT_TRUE(exists("kept"));
}

TEST_F(Tree, AnyByteMayBeInAName) {
  fs::create_directory(path("top"));
  for (std::string name : {"new\nline", "-rf", "\xff\xfe", " ", "...", "\x1b[31m", "*", "%s%n"}) {
    fs::create_directories(path("top/" + name + "/" + name));
    write("top/" + name + "/" + name + "/" + std::string(255, 'n'));
  }
  EXPECT_TRUE(remove("top"));
  EXPECT_FALSE(exists("top"));
}

TEST_F(Tree, DepthCostsNoStackAndNoDescriptors) {
  // In memory where that can be had: a disk takes long to make so many directories.
  std::string pattern = "/dev/shm/tree-XXXXXX";
  bool memory = ::mkdtemp(pattern.data()) != nullptr;
  std::string dir = memory ? pattern : dir_;
  Fd parent(::open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::mkdirat(parent.get(), "top", 0700), 0);
  {
    Fd top(::openat(parent.get(), "top", O_PATH | O_DIRECTORY | O_CLOEXEC));
    make_deep(top.get(), memory ? 20'000 : 2'000);
  }
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  int next = ::dup(0);  // how far descriptors are used
  ::close(next);
  rlimit few{static_cast<rlim_t>(next + 4), old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  auto removed = remove_tree(parent.get(), "top");
  ::setrlimit(RLIMIT_NOFILE, &old);
  EXPECT_TRUE(removed) << removed.error().what;
  EXPECT_EQ(::faccessat(parent.get(), "top", F_OK, AT_SYMLINK_NOFOLLOW), -1);
  if (memory) EXPECT_EQ(::rmdir(dir.c_str()), 0);
}

TEST_F(Tree, WideAndBushyTreesGo) {
  for (int i = 0; i < 300; ++i) {
    std::string a = "top/" + std::to_string(i % 30) + "/" + std::to_string(i);
    fs::create_directories(path(a + "/x/y"));
    for (int j = 0; j < 5; ++j) write(a + "/x/" + std::to_string(j));
  }
  EXPECT_TRUE(remove("top"));
  EXPECT_FALSE(exists("top"));
}

TEST_F(Tree, ModesDoNotStopUs) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  fs::create_directories(path("top/shut/inner"));
  write("top/shut/inner/file");
  ::chmod(path("top/shut/inner").c_str(), 0);
  ::chmod(path("top/shut").c_str(), 0);
  EXPECT_TRUE(remove("top"));
  EXPECT_FALSE(exists("top"));
}

TEST_F(Tree, PipesSocketsAndDevicesAreNotOpened) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  fs::create_directory(path("top"));
  ASSERT_EQ(::mkfifo(path("top/pipe").c_str(), 0600), 0);  // opening it would wait for ever
  ASSERT_EQ(::mknod(path("top/whiteout").c_str(), S_IFCHR, 0), 0);
  ASSERT_EQ(::mknod(path("top/socket").c_str(), S_IFSOCK, 0), 0);
  EXPECT_TRUE(remove("top"));
  EXPECT_FALSE(exists("top"));
}

TEST_F(Tree, OtherFileSystemsAreNotEntered) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  fs::create_directories(path("top/a/mount"));
  if (::mount("test", path("top/a/mount").c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "cannot mount tmpfs";
  write("top/a/mount/kept");
  auto removed = remove("top");
  EXPECT_FALSE(removed);
  // Where it went meanwhile does not matter: the mount is as it was.
  std::string at;
  for (const auto& entry : fs::recursive_directory_iterator(path("top")))
    if (entry.path().filename() == "kept") at = entry.path().parent_path();
  EXPECT_NE(at, "");
  EXPECT_EQ(::umount2(at.c_str(), MNT_DETACH), 0);
}

TEST_F(Tree, AnInterruptedRemovalIsFinishedByTheNext) {
  // What an earlier one moved up lies beside the rest, under names of its own.
  fs::create_directories(path("top/.abc-0/deep/er"));
  fs::create_directories(path("top/.abc-1/deep"));
  EXPECT_TRUE(remove("top"));
  EXPECT_FALSE(exists("top"));
}

TEST_F(Tree, ARemovalThatWasStoppedIsTakenUpAgain) {
  fs::create_directories(path("top/deep/er"));
  std::atomic<bool> stop = true;
  auto stopped = remove_tree(path("top"), &stop);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::cancelled);
  EXPECT_TRUE(exists("top/deep"));
  stop = false;
  EXPECT_TRUE(remove_tree(path("top"), &stop));
  EXPECT_FALSE(exists("top"));
}

TEST_F(Tree, MakeDirsMakesWhatIsMissing) {
  mode_t old = ::umask(077);
  EXPECT_TRUE(make_dirs(path("a//b/c/"), 0755));
  EXPECT_TRUE(make_dirs(path("a/b/c"), 0700));  // as it is
  ::umask(old);
  struct stat info{};
  ASSERT_EQ(::stat(path("a/b/c").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755u);
  write("file");
  EXPECT_FALSE(make_dirs(path("file"), 0755));
  EXPECT_FALSE(make_dirs(path("file/below"), 0755));
}

TEST_F(Tree, AtomicWriteReplacesAndLeavesNothingBehind) {
  EXPECT_TRUE(write_file_atomic(path("f"), "one", 0600));
  write("f.new", "left by a crash");
  EXPECT_TRUE(write_file_atomic(path("f"), "two", 0640));
  EXPECT_EQ(*read_file(path("f"), 100), "two");
  EXPECT_FALSE(exists("f.new"));
  struct stat info{};
  ASSERT_EQ(::stat(path("f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0640u);
  EXPECT_FALSE(write_file_atomic(path("none/f"), "x", 0600));
}

TEST_F(Tree, AFailedAtomicWriteKeepsTheOldFile) {
  fs::create_directories(path("f/in-the-way"));
  EXPECT_FALSE(
      write_file_atomic(path("f"), "x", 0600));  // a file cannot take a full directory's name
  EXPECT_TRUE(exists("f/in-the-way"));
  EXPECT_FALSE(exists("f.new"));
}

TEST_F(Tree, ReadFileHasALimit) {
  write("f", std::string(40'000, 'x'));
  EXPECT_EQ(read_file(path("f"), 40'000)->size(), 40'000u);
  auto over = read_file(path("f"), 39'999);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, Code::too_large);
  EXPECT_EQ(read_file(path("none"), 1).error().code, Code::not_found);
}

}  // namespace
}  // namespace glovebox::sys

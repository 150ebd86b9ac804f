#include "image/pack.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/fd.h"
#include "base/temp_dir.h"
#include "image/unpack.h"

namespace glovebox::image {
namespace {

namespace fs = std::filesystem;

class PackTest : public ::testing::Test {
 protected:
  PackTest() {
    top = make_temp_dir("glovebox-pack-test");
    from = top + "/from";
    to = top + "/to";
    fs::create_directory(from);
    fs::create_directory(to);
  }
  ~PackTest() override { fs::remove_all(top); }

  void write(const std::string& path, std::string_view text) const {
    std::ofstream(path, std::ios::binary) << text;
  }
  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  Result<void> there_and_back(const std::set<ino_t>& opaque = {}) {
    Fd tree(::open(from.c_str(), O_RDONLY | O_DIRECTORY));
    Fd back(::open(to.c_str(), O_RDONLY | O_DIRECTORY));
    Fd file(::open((top + "/archive").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
    Fd null(::open("/dev/null", O_WRONLY));
    Report report(null.get());
    report.set_limits({1ull << 40, 1 << 20, 0}, -1);
    TRY_DO(pack(tree.get(), file.get(), opaque, report));
    ::lseek(file.get(), 0, SEEK_SET);
    Report other(null.get());
    other.set_limits({1ull << 40, 1 << 20, 0}, -1);
    return unpack(file.get(), back.get(), {.over = true}, other);
  }

  std::string top, from, to;
};

TEST_F(PackTest, ATreeIsCountedOnceForEachFile) {
  fs::create_directories(from + "/a/b");
  write(from + "/a/b/data", std::string(100'000, 'x'));
  fs::create_hard_link(from + "/a/b/data", from + "/again");
  fs::create_symlink("a", from + "/link");
  write(from + "/hole", "");
  fs::resize_file(from + "/hole", 1 << 30);
  Fd tree(::open(from.c_str(), O_RDONLY | O_DIRECTORY)), null(::open("/dev/null", O_WRONLY));
  Report report(null.get());
  report.set_limits({UINT64_MAX, UINT64_MAX, 0}, -1);
  ASSERT_TRUE(count(tree.get(), report));
  EXPECT_EQ(report.entries(), 6u);
  EXPECT_GE(report.bytes(), 100'000u);
  EXPECT_LT(report.bytes(), 200'000u);
}

TEST_F(PackTest, WhatAUserCanMakeComesBackAsItWas) {
  fs::create_directories(from + "/a/b/empty");
  write(from + "/a/file", "content");
  fs::create_hard_link(from + "/a/file", from + "/a/b/same");
  fs::create_symlink("../nowhere", from + "/a/link");
  ASSERT_EQ(::mkfifo((from + "/pipe").c_str(), 0620), 0);
  write(from + "/odd \n\xff name", "odd");
  ::chmod((from + "/a/file").c_str(), 0640);
  ::chmod((from + "/a/b").c_str(), 01777);
  timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 5}};
  ::utimensat(AT_FDCWD, (from + "/a/file").c_str(), times, 0);
  ::utimensat(AT_FDCWD, (from + "/a/b").c_str(), times, 0);
  auto done = there_and_back();
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(read(to + "/a/file"), "content");
  EXPECT_EQ(fs::hard_link_count(to + "/a/b/same"), 2u);
  EXPECT_EQ(fs::read_symlink(to + "/a/link"), "../nowhere");
  EXPECT_TRUE(fs::is_fifo(to + "/pipe"));
  EXPECT_EQ(read(to + "/odd \n\xff name"), "odd");
  struct stat info{};
  ASSERT_EQ(::stat((to + "/a/file").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0640u);
  EXPECT_EQ(info.st_mtim.tv_sec, 1'000'000'000);
  EXPECT_EQ(info.st_mtim.tv_nsec, 5);
  ASSERT_EQ(::stat((to + "/a/b").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 01777u);
  EXPECT_EQ(info.st_mtim.tv_sec, 1'000'000'000);
}

TEST_F(PackTest, HolesStayHoles) {
  for (auto [name, at, length] : {std::tuple{"middle", 1 << 20, 4 << 20},
                                  {"end", 0, 4 << 20},
                                  {"start", (4 << 20) - 3, 4 << 20}}) {
    Fd file(::open((from + "/" + name).c_str(), O_WRONLY | O_CREAT, 0600));
    ASSERT_EQ(::ftruncate(file.get(), length), 0);
    ASSERT_EQ(::pwrite(file.get(), "abc", 3, at), 3);
  }
  Fd none(::open((from + "/nothing").c_str(), O_WRONLY | O_CREAT, 0600));
  ASSERT_EQ(::ftruncate(none.get(), 8 << 20), 0);
  auto done = there_and_back();
  ASSERT_TRUE(done) << done.error().what;
  for (std::string name : {"middle", "end", "start", "nothing"}) {
    struct stat info{};
    ASSERT_EQ(::stat((to + "/" + name).c_str(), &info), 0);
    EXPECT_LT(info.st_blocks * 512, 1 << 20) << name;
    EXPECT_TRUE(read(to + "/" + name) == read(from + "/" + name)) << name;
  }
}

TEST_F(PackTest, NamesTakenAwayAndHiddenDirectoriesComeBack) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ASSERT_EQ(::mknod((from + "/gone").c_str(), S_IFCHR, ::makedev(0, 0)), 0);
  fs::create_directories(from + "/hidden");
  write(from + "/hidden/mine", "new");
  fs::create_directories(from + "/merged");
  write(from + "/merged/mine", "new");
  for (std::string name : {"/hidden", "/merged"}) {
    fs::create_directory(to + name);
    write(to + name + "/theirs", "old");
  }
  write(to + "/gone", "old");
  struct stat info{};
  ASSERT_EQ(::stat((from + "/hidden").c_str(), &info), 0);
  auto done = there_and_back({info.st_ino});
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_FALSE(fs::exists(to + "/gone"));
  EXPECT_EQ(read(to + "/hidden/mine"), "new");
  EXPECT_FALSE(fs::exists(to + "/hidden/theirs"));
  EXPECT_EQ(read(to + "/merged/mine"), "new");
  EXPECT_EQ(read(to + "/merged/theirs"), "old");
}

TEST_F(PackTest, ADeepTreeNeedsNoDescriptorsAndATooDeepOneIsRefused) {
  std::string deep = from;
  for (int i = 0; i < 200; ++i) deep += "/d";
  fs::create_directories(deep);
  write(deep + "/bottom", "x");
  auto done = there_and_back();
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(read(to + deep.substr(from.size()) + "/bottom"), "x");
  Fd at(::open(from.c_str(), O_RDONLY | O_DIRECTORY));
  const std::string name(200, 'n');
  for (int i = 0; i < 25; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), name.c_str(), 0700), 0);
    at = Fd(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY));
    ASSERT_TRUE(at);
  }
  auto refused = there_and_back();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unsupported);
}

TEST_F(PackTest, AttributesOfOurOwnAreNobodyElses) {
  fs::create_directory(from + "/dir");
  if (::setxattr((from + "/dir").c_str(), "user.kept", "v", 1, 0) < 0)
    GTEST_SKIP() << "no user attributes in " << top;
  ::setxattr((from + "/dir").c_str(), kHides, "y", 1, 0);
  fs::create_directory(to + "/dir");
  write(to + "/dir/theirs", "old");
  auto done = there_and_back();
  ASSERT_TRUE(done) << done.error().what;
  char value[8];
  EXPECT_EQ(::getxattr((to + "/dir").c_str(), "user.kept", value, sizeof value), 1);
  EXPECT_EQ(::getxattr((to + "/dir").c_str(), kHides, value, sizeof value), -1);
  EXPECT_TRUE(fs::exists(to + "/dir/theirs"));
}

}  // namespace
}  // namespace glovebox::image

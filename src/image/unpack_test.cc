#include "image/unpack.h"

#include <archive_entry.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <zstd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"
#include "image/place.h"

namespace glovebox::image {
namespace {

namespace fs = std::filesystem;

class UnpackTest : public ::testing::Test {
 protected:
  UnpackTest() {
    top = make_temp_dir("glovebox-image-test");
    root = top + "/root";
    fs::create_directory(root);
  }
  ~UnpackTest() override { fs::remove_all(top); }

  struct Item {
    std::string name;
    mode_t type = AE_IFREG;
    std::string content = {}, link = {}, hard = {};
    int perm = 0644;
    std::int64_t uid = 0, gid = 0;
    std::string xattr = {};
  };
  // ustar, and a pax header before what needs one.
  std::string tar(const std::vector<Item>& items, bool compressed = false) {
    std::string bytes;
    for (const Item& item : items) {
      if (!item.xattr.empty()) {
        std::string line = str(" SCHILY.xattr.", item.xattr, "=v\n");
        line = str(line.size() + 2, line);
        member(bytes, {.name = "pax", .content = line}, 'x');
      }
      const char type = !item.hard.empty()      ? '1'
                        : item.type == AE_IFLNK ? '2'
                        : item.type == AE_IFCHR ? '3'
                        : item.type == AE_IFDIR ? '5'
                        : item.type == AE_IFIFO ? '6'
                                                : '0';
      member(bytes, item, type);
    }
    bytes.append(1024, '\0');
    if (compressed) {
      std::string packed(::ZSTD_compressBound(bytes.size()), '\0');
      packed.resize(::ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), 1));
      bytes = packed;
    }
    std::string path = str(top, "/", ++made_, ".tar");
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  static void member(std::string& bytes, const Item& item, char type) {
    char head[512] = {};
    auto put = [&](int at, std::string_view text) { text.copy(head + at, text.size()); };
    auto octal = [&](int at, int width, std::int64_t value) {
      std::snprintf(head + at, static_cast<std::size_t>(width), "%0*llo", width - 1,
                    static_cast<unsigned long long>(value));
    };
    put(0, item.name);
    octal(100, 8, item.perm);
    octal(108, 8, item.uid);
    octal(116, 8, item.gid);
    octal(124, 12, static_cast<std::int64_t>(item.content.size()));
    octal(136, 12, 1'000'000'000);
    put(148, "        ");
    head[156] = type;
    put(157, item.hard.empty() ? item.link : item.hard);
    put(257, "ustar");
    put(263, "00");
    int sum = 0;
    for (unsigned char c : head) sum += c;
    octal(148, 7, sum);
    bytes.append(head, sizeof head);
    bytes += item.content;
    bytes.append((512 - item.content.size() % 512) % 512, '\0');
  }
  Result<void> unpack_file(const std::string& path, UnpackOptions options = {}) {
    Fd file(::open(path.c_str(), O_RDONLY)), tree(::open(root.c_str(), O_RDONLY | O_DIRECTORY));
    Fd null(::open("/dev/null", O_WRONLY));
    Report report(null.get());
    report.set_limits(limits, tree.get());
    return unpack(file.get(), tree.get(), options, report);
  }
  Result<void> take(const std::vector<Item>& items, UnpackOptions options = {}) {
    return unpack_file(tar(items), options);
  }
  Result<void> layer(const std::vector<Item>& items) { return take(items, {.layer = true}); }
  std::string read(const std::string& path) {
    std::ifstream file(root + "/" + path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  bool there(const std::string& path) {
    struct stat info{};
    return ::lstat((root + "/" + path).c_str(), &info) == 0;
  }
  struct stat look(const std::string& path) {
    struct stat info{};
    EXPECT_EQ(::lstat((root + "/" + path).c_str(), &info), 0) << path;
    return info;
  }

  std::string top, root;
  Report::Limits limits{1 << 30, 100'000, 0};

 private:
  int made_ = 0;
};

TEST_F(UnpackTest, KeepsOwnersModesTimesLinksAndContents) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give files away";
  ASSERT_TRUE(take({{"a", AE_IFDIR, "", "", "", 0750, 10, 20},
                    {"a/f", AE_IFREG, "hello", "", "", 04755, 1000, 1000, "user.note"},
                    {"a/l", AE_IFLNK, "", "f"},
                    {"b/h", AE_IFREG, "", "", "a/f"}}));
  EXPECT_EQ(read("a/f"), "hello");
  EXPECT_EQ(read("a/l"), "hello");
  EXPECT_EQ(look("b/h").st_ino, look("a/f").st_ino);
  EXPECT_EQ(look("a/f").st_mode, 0104755u);
  EXPECT_EQ(look("a/f").st_uid, 1000u);
  EXPECT_EQ(look("a").st_gid, 20u);
  EXPECT_EQ(look("a").st_mtime, 1'000'000'000);
  char value[4];
  EXPECT_EQ(::getxattr((root + "/a/f").c_str(), "user.note", value, sizeof value), 1);
}

TEST_F(UnpackTest, ReadsCompressedOnes) {
  ASSERT_TRUE(unpack_file(tar({{"f", AE_IFREG, "zstd"}}, true)));
  EXPECT_EQ(read("f"), "zstd");
}

TEST_F(UnpackTest, RefusesNamesThatLeadOut) {
  for (const char* name : {"../out", "a/../../out", "/out", "a/.."}) {
    auto done = take({{name, AE_IFREG, "x"}});
    ASSERT_FALSE(done) << name;
    EXPECT_EQ(done.error().code, Code::invalid) << name;
  }
  EXPECT_FALSE(fs::exists(top + "/out"));
}

TEST_F(UnpackTest, RefusesHardLinksThatLeadOut) {
  std::ofstream(top + "/secret") << "secret";
  EXPECT_FALSE(take({{"h", AE_IFREG, "", "", "../secret"}}));
  EXPECT_FALSE(take({{"h", AE_IFREG, "", "", "/etc/passwd"}}));
  EXPECT_FALSE(there("h"));
}

TEST_F(UnpackTest, FollowsLinksOnTheWayOnlyInsideTheRoot) {
  fs::create_directory(top + "/victim");
  ASSERT_TRUE(take({{"out", AE_IFLNK, "", top + "/victim"},
                    {"up", AE_IFLNK, "", "../victim"},
                    {"usr/lib", AE_IFDIR},
                    {"lib", AE_IFLNK, "", "usr/lib"},
                    {"lib/a", AE_IFREG, "1"}}));
  EXPECT_EQ(read("usr/lib/a"), "1");
  // Links that lead nowhere inside are no directories to write into.
  EXPECT_FALSE(take({{"out/f", AE_IFREG, "x"}}));
  EXPECT_FALSE(take({{"up/f", AE_IFREG, "x"}}));
  EXPECT_TRUE(fs::is_empty(top + "/victim"));
}

TEST_F(UnpackTest, ReplacesALinkInsteadOfWritingThroughIt) {
  std::ofstream(top + "/victim") << "whole";
  ASSERT_TRUE(take({{"f", AE_IFLNK, "", top + "/victim"}, {"f", AE_IFREG, "mine"}}));
  EXPECT_EQ(read("f"), "mine");
  std::ifstream victim(top + "/victim");
  std::string word;
  victim >> word;
  EXPECT_EQ(word, "whole");
}

TEST_F(UnpackTest, AParentThatBecameSomethingElseIsLookedUpAgain) {
  ASSERT_TRUE(take({{"d", AE_IFDIR},
                    {"d/a", AE_IFREG, "1"},
                    {"other", AE_IFDIR},
                    {"d", AE_IFLNK, "", "other"},
                    {"d/b", AE_IFREG, "2"}}));
  EXPECT_EQ(read("other/b"), "2");
}

TEST_F(UnpackTest, RefusesDevices) {
  auto done = take({{"null", AE_IFCHR}});
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().what.find("device"), std::string::npos);
  EXPECT_FALSE(there("null"));
}

TEST_F(UnpackTest, RefusesOwnersNoBoxHas) {
  EXPECT_FALSE(take({{"f", AE_IFREG, "x", "", "", 0644, 65536, 0}}));
}

TEST_F(UnpackTest, LeavesOutAttributesThatMeanSomethingToTheKernel) {
  ASSERT_TRUE(take({{"f", AE_IFREG, "x", "", "", 0644, 0, 0, "user.overlay.opaque"},
                    {"g", AE_IFREG, "x", "", "", 0644, 0, 0, "trusted.overlay.opaque"}}));
  char value[4];
  EXPECT_LT(::getxattr((root + "/f").c_str(), "user.overlay.opaque", value, sizeof value), 0);
  EXPECT_LT(::getxattr((root + "/g").c_str(), "trusted.overlay.opaque", value, sizeof value), 0);
}

TEST_F(UnpackTest, StopsAtItsLimits) {
  limits.bytes = 1000;
  auto done = take({{"f", AE_IFREG, std::string(2000, 'x')}});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::too_large);
  limits = {1 << 20, 2, 0};
  EXPECT_FALSE(take({{"1"}, {"2"}, {"3"}}));
}

TEST_F(UnpackTest, ALayerTakesAwayWhatEarlierOnesPut) {
  ASSERT_TRUE(layer({{"d/a", AE_IFREG, "1"}, {"d/b", AE_IFREG, "1"}, {"e/x/y", AE_IFREG, "1"}}));
  ASSERT_TRUE(layer({{"d/.wh.a"}, {".wh.e"}}));
  EXPECT_FALSE(there("d/a"));
  EXPECT_TRUE(there("d/b"));
  EXPECT_FALSE(there("e"));
  EXPECT_FALSE(there("d/.wh.a"));
}

TEST_F(UnpackTest, AnOpaqueDirectoryKeepsOnlyWhatItsOwnLayerBrings) {
  ASSERT_TRUE(layer({{"d/old", AE_IFREG, "1"}, {"d/s/old", AE_IFREG, "1"}}));
  ASSERT_TRUE(layer({{"d/new", AE_IFREG, "2"}, {"d/s/new", AE_IFREG, "2"}, {"d/.wh..wh..opq"}}));
  EXPECT_FALSE(there("d/old"));
  EXPECT_FALSE(there("d/s/old"));
  EXPECT_EQ(read("d/new"), "2");
  EXPECT_EQ(read("d/s/new"), "2");
}

TEST_F(UnpackTest, AWhiteoutLeadsNowhereElse) {
  std::ofstream(top + "/victim") << "x";
  EXPECT_FALSE(layer({{"a/.wh..."}}) && !fs::exists(top + "/victim"));
  EXPECT_FALSE(layer({{".wh."}}));
  EXPECT_FALSE(layer({{".wh..."}}));
  EXPECT_TRUE(fs::exists(top + "/victim"));
}

TEST_F(UnpackTest, ALayerMayTurnADirectoryIntoAFileAndBack) {
  ASSERT_TRUE(layer({{"x/deep/f", AE_IFREG, "1"}, {"y", AE_IFREG, "1"}}));
  ASSERT_TRUE(layer({{"x", AE_IFREG, "now a file"}, {"y", AE_IFDIR}, {"y/f", AE_IFREG, "2"}}));
  EXPECT_EQ(read("x"), "now a file");
  EXPECT_EQ(read("y/f"), "2");
}

TEST_F(UnpackTest, WhatIsNoTarIsRefused) {
  std::string path = top + "/noise";
  std::ofstream(path) << std::string(3000, 'n');
  EXPECT_FALSE(unpack_file(path));
  std::string whole = tar({{"f", AE_IFREG, std::string(100'000, 'x')}});
  fs::resize_file(whole, 50'000);
  EXPECT_FALSE(unpack_file(whole));
}

TEST(CleanPath, IsBelowTheRootOrRefused) {
  EXPECT_EQ(*clean_path("./a//b/"), "a/b");
  EXPECT_EQ(*clean_path("./"), "");
  EXPECT_FALSE(clean_path(std::string(300, 'x')));
  EXPECT_FALSE(clean_path(".."));
}

TEST_F(UnpackTest, HolesAreNotLongerThanAnImageMayBe) {
  limits.bytes = 1 << 20;
  // Of GNU tar's first form: `map` is pairs of offset and length, and the data follows.
  auto sparse = [&](std::string_view name, std::string_view map, std::uint64_t whole,
                    std::string content) {
    std::string records;
    for (auto& [key, value] : std::initializer_list<std::pair<std::string, std::string>>{
             {"GNU.sparse.size", str(whole)},
             {"GNU.sparse.numblocks", "2"},
             {"GNU.sparse.map", std::string(map)}}) {
      std::string line = str(" ", key, "=", value, "\n");
      std::size_t size = line.size() + 2;
      if (str(size).size() != 2) ++size;
      records += str(size, line);
    }
    std::string bytes;
    member(bytes, {.name = "pax", .content = records}, 'x');
    member(bytes, {.name = std::string(name), .content = std::move(content)}, '0');
    bytes.append(1024, '\0');
    std::string path = str(top, "/", name, ".tar");
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  };
  std::string block(512, 'x');
  ASSERT_TRUE(unpack_file(sparse("fits", "0,512,1048576,0", 1 << 20, block)));
  EXPECT_EQ(look("fits").st_size, 1 << 20);
  const std::uint64_t huge = 1ull << 40;
  auto at_the_end = unpack_file(sparse("end", str("0,512,", huge, ",0"), huge, block));
  ASSERT_FALSE(at_the_end);
  EXPECT_EQ(at_the_end.error().code, Code::too_large) << at_the_end.error().what;
  auto before_data =
      unpack_file(sparse("data", str("0,512,", huge - 512, ",512"), huge, block + block));
  ASSERT_FALSE(before_data);
  EXPECT_EQ(before_data.error().code, Code::too_large) << before_data.error().what;
}

}  // namespace
}  // namespace glovebox::image

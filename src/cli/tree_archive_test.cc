#include "cli/tree_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/fd.h"

namespace glovebox::cli {
namespace {

namespace fs = std::filesystem;

class TreeArchive : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "gb-tree-XXXXXX").string();
    ASSERT_TRUE(::mkdtemp(name.data()));
    root_ = name;
    fs::create_directories(root_ / "to");
  }
  void TearDown() override { fs::remove_all(root_); }

  static std::string slurp(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void put(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  struct Entry {
    std::string name;
    mode_t type = AE_IFREG;
    std::string link = {};
    mode_t mode = 0644;
  };
  // A stream as somebody hostile makes it; files hold "evil".
  Result<Unpacked> unpack(const std::vector<Entry>& entries, Links links = Links::all) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    std::thread writer([&] {
      archive* tar = ::archive_write_new();
      ::archive_write_set_format_gnutar(tar);
      ::archive_write_open_fd(tar, ends[1]);
      for (const Entry& each : entries) {
        archive_entry* entry = ::archive_entry_new();
        ::archive_entry_set_pathname(entry, each.name.c_str());
        ::archive_entry_set_filetype(entry, each.type);
        ::archive_entry_set_perm(entry, each.mode);
        if (each.type == AE_IFLNK)
          ::archive_entry_set_symlink(entry, each.link.c_str());
        else if (!each.link.empty())
          ::archive_entry_set_hardlink(entry, each.link.c_str());
        const bool file = each.type == AE_IFREG && each.link.empty();
        ::archive_entry_set_size(entry, file ? 4 : 0);
        ::archive_write_header(tar, entry);
        if (file) ::archive_write_data(tar, "evil", 4);
        ::archive_entry_free(entry);
      }
      ::archive_write_free(tar);
      ::close(ends[1]);
    });
    auto done = unpack_tree(ends[0], root_ / "to", links);
    writer.join();
    ::close(ends[0]);
    return done;
  }
  fs::path root_;
};

TEST_F(TreeArchive, ATreeComesBackAsItWas) {
  put(root_ / "from/a/b c.txt", "text");
  put(root_ / "from/run", "#!/bin/sh\n");
  put(root_ / "from/empty", "");
  fs::create_directories(root_ / "from/nothing");
  fs::create_symlink("a/b c.txt", root_ / "from/link");
  ::chmod((root_ / "from/run").c_str(), 0755);
  ::mkfifo((root_ / "from/pipe").c_str(), 0600);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  // One after the other: both work in a directory of their own, and a process has one. It fits into
  // the pipe.
  auto packed = pack_tree(root_ / "from", ends[1]);
  ::close(ends[1]);
  auto done = unpack_tree(ends[0], root_ / "to");
  ::close(ends[0]);
  ASSERT_TRUE(packed) << packed.error().what;
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(slurp(root_ / "to/a/b c.txt"), "text");
  EXPECT_EQ(fs::read_symlink(root_ / "to/link"), "a/b c.txt");
  EXPECT_TRUE(fs::is_directory(root_ / "to/nothing"));
  EXPECT_TRUE(fs::exists(root_ / "to/empty"));
  EXPECT_FALSE(fs::exists(root_ / "to/pipe"));
  EXPECT_EQ(fs::status(root_ / "to/run").permissions(), fs::perms(0755));
}

TEST_F(TreeArchive, NamesThatLeadOutsideAreLeftOut) {
  auto done = unpack({{"../out"}, {"/tmp/gb-out"}, {"a/../../out"}, {"fine"}});
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(done->left_out, 3u);
  EXPECT_EQ(slurp(root_ / "to/fine"), "evil");
  EXPECT_FALSE(fs::exists(root_ / "out"));
  EXPECT_FALSE(fs::exists("/tmp/gb-out"));
}

TEST_F(TreeArchive, NothingIsWrittenThroughALink) {
  put(root_ / "precious", "mine");
  (void)unpack({{"dir", AE_IFLNK, root_.string()}, {"dir/precious"}});
  EXPECT_EQ(slurp(root_ / "precious"), "mine");
  (void)unpack({{"file", AE_IFLNK, (root_ / "precious").string()}, {"file"}});
  EXPECT_EQ(slurp(root_ / "precious"), "mine");
  (void)unpack({{"hard", AE_IFREG, "../precious"}, {"hard"}});
  EXPECT_EQ(slurp(root_ / "precious"), "mine");
}

TEST_F(TreeArchive, LinksThatLeadOutsideAreLeftOutWhereNobodyWantsThem) {
  auto done = unpack(
      {{"far", AE_IFLNK, "/etc/shadow"}, {"up", AE_IFLNK, "a/../../x"}, {"down", AE_IFLNK, "a/b"}},
      Links::downwards);
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(done->left_out, 2u);
  EXPECT_FALSE(fs::is_symlink(root_ / "to/far"));
  EXPECT_FALSE(fs::is_symlink(root_ / "to/up"));
  EXPECT_TRUE(fs::is_symlink(root_ / "to/down"));
}

TEST_F(TreeArchive, NoDevicesAndNoSetUserIds) {
  auto done = unpack({{"null", AE_IFCHR}, {"pipe", AE_IFIFO}, {"su", AE_IFREG, "", 06755}});
  ASSERT_TRUE(done) << done.error().what;
  EXPECT_EQ(done->left_out, 2u);
  EXPECT_FALSE(fs::exists(root_ / "to/null"));
  EXPECT_EQ(fs::status(root_ / "to/su").permissions(), fs::perms(0755));
}

TEST_F(TreeArchive, WhatIsNoArchiveIsAnError) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  (void)!::write(ends[1], std::string(2000, 'x').data(), 2000);
  ::close(ends[1]);
  EXPECT_FALSE(unpack_tree(ends[0], root_ / "to"));
  ::close(ends[0]);
}

}  // namespace
}  // namespace glovebox::cli

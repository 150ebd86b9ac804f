#include "runner/unpack.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#include "base/temp_dir.h"
#include "net/task.h"
#include "runner/member_frames.h"
#include "sys/process.h"

namespace glovebox::runner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::string corpus(const std::string& name) {
  std::ifstream file(str(ARCHIVE_CORPUS "/", name), std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

class UnpackTest : public ::testing::Test {
 protected:
  net::Loop loop;
  std::string program = UNPACK_PROGRAM;
  ArchiveLimits limits;

  Result<std::vector<Member>> unpack(std::string archive) {
    Result<std::vector<Member>> members;
    (void)net::run(loop, into(&members, std::move(archive)));
    return members;
  }
  // All the way: what is placed, or why nothing is. Programs end in "*".
  std::map<std::string, std::string> placed(const std::string& name) {
    std::string archive = corpus(name);
    auto members = unpack(archive);
    if (!members) return {{"refused", members.error().what}};
    auto plan = plan_skill(std::move(*members), packing_of(archive), limits);
    if (!plan) return {{"refused", plan.error().what}};
    std::map<std::string, std::string> files;
    for (const auto& file : plan->files)
      files[file.path + (file.executable ? "*" : "")] = file.content;
    return files;
  }
  std::string refusal(const std::string& name) {
    auto found = placed(name);
    return found.contains("refused") ? found["refused"] : "placed";
  }

 private:
  Task<void> into(Result<std::vector<Member>>* members, std::string archive) {
    *members = co_await runner::unpack(loop, program, std::move(archive), limits);
    co_return ok;
  }
};

TEST_F(UnpackTest, EveryPackingOfASkillGivesTheSameFiles) {
  auto skill = placed("zip_wrapped");
  ASSERT_THAT(skill, ElementsAre(Pair("SKILL.md", HasSubstr("name: pdf")),
                                 Pair("scripts/read.sh*", HasSubstr("echo read"))));
  for (const char* name : {"zip_flat_stored", "tar_wrapped", "tar_flat", "tar_gz_wrapped",
                           "tar_xz_flat", "tar_bz2_flat", "tar_zst_wrapped", "tar_lzma_wrapped"})
    EXPECT_EQ(placed(name), skill) << name;
}

TEST_F(UnpackTest, AZipWithoutModesHoldsNoPrograms) {
  EXPECT_THAT(placed("zip_without_modes"), ElementsAre(Pair("SKILL.md", HasSubstr("name: pdf"))));
}

TEST_F(UnpackTest, LongNamesOfGnuTarAreWhole) {
  EXPECT_THAT(placed("tar_gnu_long_names"),
              ElementsAre(Pair(std::string(120, 'd') + "/" + std::string(90, 'f'), "x")));
}

TEST_F(UnpackTest, NamesThatLeadElsewhereRefuseTheArchive) {
  EXPECT_THAT(refusal("zip_climbs"), HasSubstr("climbs"));
  EXPECT_THAT(refusal("zip_backslash_climbs"), HasSubstr("climbs"));
  EXPECT_THAT(refusal("zip_two_names"), HasSubstr("climbs"));
  EXPECT_THAT(refusal("tar_climbs"), HasSubstr("climbs"));
  EXPECT_THAT(refusal("zip_absolute"), HasSubstr("absolute"));
  EXPECT_THAT(refusal("tar_absolute"), HasSubstr("absolute"));
}

TEST_F(UnpackTest, LinksAndDevicesAreLeftOut) {
  for (const char* name : {"zip_symlink", "tar_symlink", "tar_hard_link", "tar_devices"})
    EXPECT_THAT(placed(name), ElementsAre(Pair("SKILL.md", HasSubstr("name: pdf")))) << name;
  EXPECT_THAT(refusal("tar_odd_link"), HasSubstr("cannot be left out"));
  EXPECT_THAT(refusal("zip_dash_link"), HasSubstr("cannot be left out"));
}

// A zip knows nothing but files, folders and links: what claims to be more is a file.
TEST_F(UnpackTest, APipeInAZipIsAFile) {
  EXPECT_THAT(placed("zip_fifo"),
              ElementsAre(Pair("SKILL.md", HasSubstr("name: pdf")), Pair("fifo", "")));
}

TEST_F(UnpackTest, WhatIsBrokenIsRefusedWithItsReason) {
  EXPECT_THAT(refusal("zip_bad_crc"), HasSubstr("CRC"));
  EXPECT_THAT(refusal("zip_encrypted"), HasSubstr("broken member"));
  EXPECT_THAT(refusal("zip_without_directory"), HasSubstr("no archive"));
  EXPECT_THAT(refusal("zip_empty"), HasSubstr("no archive"));
  EXPECT_THAT(refusal("tar_truncated"), HasSubstr("no archive"));
  EXPECT_THAT(refusal("tar_sparse"), HasSubstr("not as long"));
  EXPECT_THAT(refusal("text"), HasSubstr("no archive"));
  EXPECT_THAT(refusal("nothing"), HasSubstr("no archive"));
  EXPECT_THAT(refusal("tar_twice"), HasSubstr("twice"));
  EXPECT_THAT(refusal("tar_file_and_folder"), HasSubstr("and a folder"));
}

TEST_F(UnpackTest, BombsAreRefused) {
  EXPECT_THAT(refusal("zip_bomb"), HasSubstr("unpacks to more"));
  EXPECT_THAT(refusal("tar_bomb"), HasSubstr("unpacks to more"));
}

void little(std::string& out, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}
// Empty files, stored.
std::string zip_of(std::size_t members) {
  std::string local, directory;
  for (std::size_t i = 0; i < members; ++i) {
    const std::string name = str("pdf/", i);
    const auto at = static_cast<std::uint32_t>(local.size());
    local += "PK\x03\x04";
    little(local, 20, 4);  // version, flags
    for (int field = 0; field < 4; ++field) little(local, 0, 4);
    little(local, 0, 2);
    little(local, static_cast<std::uint32_t>(name.size()), 4);
    local += name;
    directory += "PK\x01\x02";
    little(directory, 20 | 3 << 8, 2);  // by Unix
    little(directory, 20, 4);
    for (int field = 0; field < 4; ++field) little(directory, 0, 4);
    little(directory, 0, 2);
    little(directory, static_cast<std::uint32_t>(name.size()), 4);
    little(directory, 0, 4);
    little(directory, 0, 2);
    little(directory, 0100644u << 16, 4);
    little(directory, at, 4);
    directory += name;
  }
  std::string end = "PK\x05\x06";
  little(end, 0, 4);
  const auto count = static_cast<std::uint32_t>(members % 65536);
  little(end, count | count << 16, 4);
  little(end, static_cast<std::uint32_t>(directory.size()), 4);
  little(end, static_cast<std::uint32_t>(local.size()), 4);
  little(end, 0, 2);
  return local + directory + end;
}

TEST_F(UnpackTest, AHundredThousandMembersAreRefused) {
  auto few = unpack(zip_of(1000));
  ASSERT_TRUE(few) << few.error().what;
  EXPECT_EQ(few->size(), 1000u);
  auto many = unpack(zip_of(100'000));
  ASSERT_FALSE(many);
  EXPECT_THAT(many.error().what, HasSubstr("more than 20000 members"));
}

TEST_F(UnpackTest, ATooLargeArchiveIsNotEvenRead) {
  limits.archive = 100;
  program = "/nowhere";
  auto members = unpack(std::string(101, 'x'));
  ASSERT_FALSE(members);
  EXPECT_EQ(members.error().code, Code::too_large);
}

// Instead of glovebox-unpack, what becomes of it when an archive has its way with it.
class BadReaderTest : public UnpackTest {
 protected:
  void be(const std::string& script) {
    directory_ = make_temp_dir("glovebox-reader");
    program = directory_ + "/reader";
    std::ofstream(program) << "#!/bin/sh\n" << script << "\n";
    ::chmod(program.c_str(), 0700);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
};

TEST_F(BadReaderTest, ACrashIsARefusal) {
  be("kill -SEGV $$");
  auto members = unpack(std::string(1 << 20, 'x'));
  ASSERT_FALSE(members);
  EXPECT_THAT(members.error().what, HasSubstr("signal 11"));
}

TEST_F(BadReaderTest, AFailureIsARefusalWhateverItSaidBefore) {
  be("cat >/dev/null; printf 'e\\0\\0\\0\\0'; exit 7");
  auto members = unpack("x");
  ASSERT_FALSE(members);
  EXPECT_THAT(members.error().what, HasSubstr("ended with 7"));
}

TEST_F(BadReaderTest, NonsenseIsARefusal) {
  be("cat >/dev/null; echo all is well, trust me");
  EXPECT_FALSE(unpack("x"));
}

TEST_F(BadReaderTest, SilenceIsARefusal) {
  be("cat >/dev/null");
  EXPECT_FALSE(unpack("x"));
}

TEST_F(BadReaderTest, TakingTooLongIsARefusalAndItsEnd) {
  be(str("echo $$ >", "$(dirname $0)/pid", "; exec sleep 1000"));
  limits.time = Millis(300);
  auto members = unpack("x");
  ASSERT_FALSE(members);
  EXPECT_EQ(members.error().code, Code::timeout);
  std::ifstream file(directory_ + "/pid");
  pid_t pid = 0;
  ASSERT_TRUE(file >> pid);
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST_F(UnpackTest, AMissingProgramIsAnError) {
  program = "/nowhere/glovebox-unpack";
  EXPECT_FALSE(unpack("x"));
}

#if !__has_feature(address_sanitizer)
// It is met while it reads: it has to stop where nobody takes what it finds.
TEST(UnpackProgram, HasRenouncedEverythingWhenItReads) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Fd ours(ends[0]), theirs(ends[1]);
  sys::SpawnSpec spec;
  spec.program = UNPACK_PROGRAM;
  spec.args = {"glovebox-unpack", "50000000", "50000000", "20000"};
  spec.fds = {{theirs.get(), 0}, {theirs.get(), 1}};
  auto process = sys::spawn(spec);
  ASSERT_TRUE(process);
  theirs.reset();
  const std::string archive = zip_of(20'000);
  for (std::size_t at = 0; at < archive.size();) {
    ssize_t n = ::write(ours.get(), archive.data() + at, archive.size() - at);
    ASSERT_GT(n, 0);
    at += static_cast<std::size_t>(n);
  }
  ::shutdown(ours.get(), SHUT_WR);
  auto status = [&] {
    std::ifstream file(str("/proc/", process->pid(), "/status"));
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (status().find("Seccomp:\t2") == std::string::npos) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << status();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_THAT(status(), HasSubstr("NoNewPrivs:\t1"));
  std::size_t open = 0;
  for (const auto& fd : std::filesystem::directory_iterator(str("/proc/", process->pid(), "/fd")))
    open += !fd.path().empty();
  EXPECT_EQ(open, 1u);
}
#endif

}  // namespace
}  // namespace glovebox::runner

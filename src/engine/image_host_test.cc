#include "engine/image_host.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/image_parts.h"
#include "sys/tree.h"

namespace glovebox::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kCanary = "canary-7f3a";

// A machine of our own, with secrets in the places where machines have them.
class HostImageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root (whiteouts, owners)";
    std::string pattern = ::testing::TempDir() + "image-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    host_ = dir_ + "/host";
    images_ = dir_ + "/images";
    write("var/lib/dpkg/status", "Package: one\n");
    fs::create_directory(host_ + "/etc");
    for (const char* name : {"bin", "lib"}) {
      fs::create_directories(host_ + "/usr/" + name);
      fs::create_symlink(std::string("usr/") + name, host_ + "/" + name);
    }
  }
  void TearDown() override {
    if (!dir_.empty()) EXPECT_TRUE(sys::remove_tree(dir_));
  }
  void write(const std::string& path, std::string_view text, mode_t mode = 0644) {
    std::string full = host_ + "/" + path;
    fs::create_directories(fs::path(full).parent_path());
    std::ofstream(full) << text;
    ::chmod(full.c_str(), mode);
  }
  Result<HostImage> build() { return build_host_image(images_, host_); }
  std::string built() {
    auto image = build();
    EXPECT_TRUE(image) << image.error().what;
    return image ? image->dir : "";
  }
  static std::string read(const std::string& path) {
    return sys::read_file(path, 1 << 20).value_or("(none)");
  }
  static mode_t mode(const std::string& path) {
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
  }
  static bool whiteout(const std::string& path) {
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0 && S_ISCHR(info.st_mode) &&
           info.st_rdev == ::makedev(0, 0);
  }

  std::string dir_, host_, images_;
};

TEST_F(HostImageTest, NothingOfTheMachinesSecretsIsInIt) {
  for (const char* path : {"etc/shadow",
                           "etc/passwd",
                           "etc/hostname",
                           "etc/hosts",
                           "etc/resolv.conf",
                           "etc/npmrc",
                           "etc/pip.conf",
                           "etc/gitconfig",
                           "etc/environment",
                           "etc/profile",
                           "etc/profile.d/keys.sh",
                           "etc/ssh/ssh_host_ed25519_key",
                           "etc/ssl/private/key.pem",
                           "etc/apt/auth.conf",
                           "etc/machine-id",
                           "etc/maven/settings.xml",
                           "root/.ssh/id_ed25519",
                           "home/me/note",
                           "var/lib/secret",
                           "opt/app/key",
                           "usr/local/etc/token",
                           "usr/lib/app/everybody",
                           "workspace/mine"})
    write(path, kCanary);
  write("etc/services", kCanary, 0600);         // a listed name that not everybody may read
  write("etc/perl/key", kCanary, 0640);         // below a listed name
  write("etc/fonts/other/key", kCanary, 0644);  // in a directory that is shut
  ::chmod((host_ + "/etc/fonts/other").c_str(), 0700);
  write("etc/protocols", kCanary);
  ASSERT_EQ(::chown((host_ + "/etc/protocols").c_str(), 1234, 0), 0);  // not root's
  fs::create_symlink("/etc/npmrc",
                     host_ + "/etc/inputrc");  // points at something unlisted: stays a link
  std::string dir = built();
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_symlink() || !entry.is_regular_file()) continue;
    EXPECT_THAT(read(entry.path()), Not(HasSubstr(kCanary))) << entry.path();
  }
  EXPECT_TRUE(fs::is_symlink(dir + "/root/etc/inputrc"));
}

TEST_F(HostImageTest, HasWhatProgramsLookFor) {
  write("etc/services", "ssh 22/tcp\n");
  write("etc/ssl/certs/ca-certificates.crt", "certificates");
  write("etc/python3/debian_config", "x", 0666);
  fs::create_directories(host_ + "/etc/alternatives");
  fs::create_symlink("/usr/bin/mawk", host_ + "/etc/alternatives/awk");
  fs::create_symlink("/usr/local/bin/own", host_ + "/etc/alternatives/own");
  std::string root = built() + "/root";
  EXPECT_EQ(read(root + "/etc/services"), "ssh 22/tcp\n");
  EXPECT_EQ(read(root + "/etc/ssl/certs/ca-certificates.crt"), "certificates");
  EXPECT_EQ(mode(root + "/etc/python3/debian_config"), 0644u);
  EXPECT_EQ(fs::read_symlink(root + "/etc/alternatives/awk"), "/usr/bin/mawk");
  EXPECT_FALSE(fs::is_symlink(root + "/etc/alternatives/own"));
  EXPECT_EQ(fs::read_symlink(root + "/bin"), "usr/bin");
  EXPECT_FALSE(fs::exists(root + "/lib64"));  // this machine has none
  EXPECT_THAT(read(root + "/etc/passwd"),
              HasSubstr("user:x:1000:1000:user:/home/user:/bin/bash\n"));
  EXPECT_THAT(read(root + "/etc/shadow"), Not(HasSubstr("$")));
  EXPECT_EQ(mode(root + "/etc/shadow"), 0640u);
  EXPECT_EQ(mode(root), 0755u);
  EXPECT_EQ(mode(root + "/root"), 0700u);
  EXPECT_EQ(mode(root + "/tmp"), 01777u);
  EXPECT_EQ(mode(root + "/workspace"), 0777u);
  EXPECT_TRUE(fs::is_directory(root + "/mnt/session/outputs"));
  for (const char* place : {"proc", "sys", "dev", "usr"})
    EXPECT_TRUE(fs::is_empty(root + "/" + place)) << place;
}

TEST_F(HostImageTest, WhatIsNotForEverybodyInUsrIsCovered) {
  write("usr/bin/tool", "x", 0755);
  write("usr/bin/run-only", "x", 0711);
  write("usr/bin/setuid", "x", 04755);  // neutral: the mount is nosuid
  write("usr/lib/a/b/key", "x", 0600);
  write("usr/lib/a/b/open", "x", 0644);
  write("usr/share/shut/inside", "x", 0644);
  write("usr/local/bin/own", "x", 0755);
  ::chmod((host_ + "/usr/share/shut").c_str(), 0750);
  ASSERT_EQ(::mkfifo((host_ + "/usr/lib/pipe").c_str(), 0666), 0);
  ::chmod((host_ + "/usr/lib/a").c_str(), 0775);
  timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (host_ + "/usr/lib/a/b").c_str(), times, 0), 0);

  std::string mask = built() + "/usr-mask";
  EXPECT_TRUE(whiteout(mask + "/bin/run-only"));
  EXPECT_TRUE(whiteout(mask + "/lib/a/b/key"));
  EXPECT_TRUE(whiteout(mask + "/lib/pipe"));
  EXPECT_TRUE(whiteout(mask + "/share/shut"));
  std::size_t whiteouts = 0;
  for (const auto& entry : fs::recursive_directory_iterator(mask))
    whiteouts += whiteout(entry.path());
  EXPECT_EQ(whiteouts, 4u);
  EXPECT_EQ(mode(mask + "/lib/a"), 0775u);
  struct stat info{};
  ASSERT_EQ(::stat((mask + "/lib/a/b").c_str(), &info), 0);
  EXPECT_EQ(info.st_mtime, 1'000'000'000);
  char opaque[8] = {};
  EXPECT_EQ(::getxattr((mask + "/local").c_str(), "trusted.overlay.opaque", opaque, sizeof opaque),
            1);
  EXPECT_STREQ(opaque, "y");
  EXPECT_TRUE(fs::is_empty(mask + "/local"));
}

TEST_F(HostImageTest, OtherFileSystemsBelowUsrAreCovered) {
  fs::create_directories(host_ + "/usr/lib/mounted");
  if (::mount("test", (host_ + "/usr/lib/mounted").c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "cannot mount tmpfs";
  std::string mask = built() + "/usr-mask";
  ::umount2((host_ + "/usr/lib/mounted").c_str(), MNT_DETACH);
  EXPECT_TRUE(whiteout(mask + "/lib/mounted"));
}

TEST_F(HostImageTest, IsBuiltOnceForEachStateOfTheMachine) {
  auto first = build();
  ASSERT_TRUE(first) << first.error().what;
  write("../images/host-" + first->generation + "/mark", "x");
  auto again = build();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->dir, first->dir);
  EXPECT_TRUE(fs::exists(again->dir + "/mark"));
  write("var/lib/dpkg/status", "Package: one\nPackage: two\n");
  auto changed = build();
  ASSERT_TRUE(changed);
  EXPECT_NE(changed->generation, first->generation);
  EXPECT_TRUE(fs::exists(first->dir));  // boxes may still stand on it
}

TEST_F(HostImageTest, AnInterruptedBuildIsClearedAndAFailedOneLeavesNothing) {
  write("../images/.new-abc/root/etc/half", "x");
  built();
  EXPECT_FALSE(fs::exists(images_ + "/.new-abc"));
  EXPECT_EQ(std::distance(fs::directory_iterator(images_), {}), 1);

  fs::remove(host_ + "/lib");
  fs::create_directory(host_ + "/lib");  // a machine that has not merged /usr
  write("var/lib/dpkg/status", "Package: three\n");
  auto image = build();
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, Code::unsupported);
  EXPECT_EQ(std::distance(fs::directory_iterator(images_), {}), 1);
}

TEST_F(HostImageTest, AMachineWithoutAKnownPackageDatabaseIsRefused) {
  fs::remove(host_ + "/var/lib/dpkg/status");
  auto image = build();
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, Code::unsupported);
}

// This machine, for real: its programs run on the made-up root.
TEST_F(HostImageTest, ProgramsOfThisMachineRunInIt) {
  auto image = build_host_image(images_);
  if (!image && image.error().code == Code::unsupported) GTEST_SKIP() << image.error().what;
  ASSERT_TRUE(image) << image.error().what;
  std::string root = dir_ + "/root";
  fs::create_directory(root);
  fs::create_directory(dir_ + "/empty");  // a read-only overlay has at least two layers
  pid_t pid = ::fork();
  if (pid == 0) {
    auto overlay = [](const std::string& layers, const std::string& at) {
      return ::mount("overlay", at.c_str(), "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV,
                     ("lowerdir=" + layers).c_str()) == 0;
    };
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      ::_exit(77);
    if (!overlay(image->dir + "/root:" + dir_ + "/empty", root) ||
        !overlay(image->dir + "/usr-mask:/usr", root + "/usr"))
      ::_exit(77);
    if (::chroot(root.c_str()) != 0 || ::chdir("/") != 0) ::_exit(78);
    ::execl("/bin/sh", "sh", "-c",
            "test \"$(getent passwd user | cut -d: -f3)\" = 1000 && test -z \"$(ls /usr/local)\" "
            "&& test -x /usr/bin/env",
            nullptr);
    ::_exit(79);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "cannot mount an overlay";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// A loader cache of the given {name, path} pairs. Strings share their tails, as glibc's do.
std::string make_cache(const std::vector<std::pair<std::string, std::string>>& libraries) {
  std::string head = "glibc-ld.so.cache1.1", entries, strings;
  auto number = [](std::uint32_t n) { return std::string(reinterpret_cast<const char*>(&n), 4); };
  auto base = static_cast<std::uint32_t>(48 + libraries.size() * 24);
  for (const auto& [name, path] : libraries) {
    auto at = static_cast<std::uint32_t>(base + strings.size());
    strings += path + '\0';
    entries += number(3) + number(at + static_cast<std::uint32_t>(path.size() - name.size())) +
               number(at) + number(0) + number(0) + number(0);
  }
  return head + number(static_cast<std::uint32_t>(libraries.size())) +
         number(static_cast<std::uint32_t>(strings.size())) + std::string(20, '\0') + entries +
         strings;
}

TEST(LoaderCache, KeepsOnlyWhatIsInTheImage) {
  std::string out = filter_ld_cache(make_cache({{"libz.so", "/usr/lib/libz.so"},
                                                {"libsecret.so", "/usr/local/lib/libsecret.so"},
                                                {"libc.so", "/lib/x/libc.so"},
                                                {"libapp.so", "/opt/app/libapp.so"},
                                                {"liba.so", "/lib32/liba.so"}}));
  ASSERT_FALSE(out.empty());
  std::uint32_t count;
  std::memcpy(&count, out.data() + 20, 4);
  EXPECT_EQ(count, 3u);
  EXPECT_THAT(out, HasSubstr("/usr/lib/libz.so"));
  EXPECT_THAT(out, HasSubstr("/lib32/liba.so"));
  for (const char* gone : {"local", "secret", "opt", "app"}) EXPECT_THAT(out, Not(HasSubstr(gone)));
  // The second entry is now what was the third.
  std::uint32_t path;
  std::memcpy(&path, out.data() + 48 + 24 + 8, 4);
  EXPECT_STREQ(out.data() + path, "/lib/x/libc.so");
}

TEST(LoaderCache, DamagedOnesAreRefusedNotFollowed) {
  std::string whole = make_cache({{"libz.so", "/usr/lib/libz.so"}, {"libc.so", "/lib/x/libc.so"}});
  ASSERT_FALSE(filter_ld_cache(whole).empty());
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_EQ(filter_ld_cache(whole.substr(0, size)), "") << size;
  for (std::size_t at = 0; at < whole.size();
       ++at) {  // any byte wrong: refused, or of the same size
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
    std::string out = filter_ld_cache(damaged);
    EXPECT_TRUE(out.empty() || out.size() == whole.size()) << at;
  }
}

TEST(LoaderCache, ThisMachinesIsUnderstood) {
  auto cache = sys::read_file("/etc/ld.so.cache", 64 << 20);
  if (!cache) GTEST_SKIP() << cache.error().what;
  std::string out = filter_ld_cache(*cache);
  EXPECT_EQ(out.size(), cache->size());
  EXPECT_THAT(out, Not(HasSubstr("/usr/local/")));
}

TEST_F(HostImageTest, GenerationsThatNobodyNeedsGo) {
  auto first = build();
  ASSERT_TRUE(first) << first.error().what;
  write("var/lib/dpkg/status", "Package: two\n");
  auto second = build();
  ASSERT_TRUE(second) << second.error().what;
  ASSERT_NE(first->generation, second->generation);
  fs::create_directory(images_ + "/nothing");
  ASSERT_TRUE(remove_other_host_images(images_, {first->generation, second->generation, "gone"}));
  EXPECT_TRUE(fs::exists(first->dir));
  ASSERT_TRUE(remove_other_host_images(images_, {second->generation}));
  EXPECT_FALSE(fs::exists(first->dir));
  EXPECT_TRUE(fs::exists(second->dir + "/root/etc"));
  EXPECT_TRUE(fs::exists(images_ + "/nothing"));
  EXPECT_EQ(std::distance(fs::directory_iterator(images_), {}), 2);
}

}  // namespace
}  // namespace glovebox::engine

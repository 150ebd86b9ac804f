#include "sys/inside.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/mount.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "sys/inside_fixture.h"
#include "sys/mount.h"
#include "sys/tree.h"

namespace glovebox::sys {
namespace {

bool in_own_namespaces() {
  return ::unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", "/mnt", "tmpfs", 0, "size=64k") == 0 && ::mkdir("/mnt/here", 0755) == 0 &&
         ::symlink("/", "/mnt/link") == 0;
}

// In a network and a mount namespace of its own, with a tmpfs at /mnt.
class Inside : public ProcessInside {
 protected:
  void SetUp() override { start(in_own_namespaces); }
};

int connect_from_here(int port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? 0
                                                                                         : errno;
}

TEST_F(Inside, TheSocketIsInThereAndNotHere) {
  auto made = listen_inside(handle_.get(), {.type = SOCK_STREAM});
  ASSERT_TRUE(made) << made.error().what;
  EXPECT_GT(made->port, 0);
  EXPECT_EQ(connect_from_here(made->port), ECONNREFUSED);
  // It is listed where it listens.
  auto listed = read_file(str("/proc/", process_->pid(), "/net/tcp"), 1 << 16);
  ASSERT_TRUE(listed);
  char port[16];
  std::snprintf(port, sizeof port, ":%04X ", static_cast<unsigned>(made->port));
  EXPECT_NE(listed->find(port), listed->npos) << *listed;
}

TEST_F(Inside, ASocketMadeInThereIsNotOfThisNetwork) {
  Fd here(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(here.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(here.get(), 1), 0);
  ASSERT_EQ(::getsockname(here.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  EXPECT_EQ(connect_from_here(ntohs(address.sin_port)), 0);
  auto there = socket_inside(handle_.get(), AF_INET, SOCK_STREAM);
  ASSERT_TRUE(there) << there.error().what;
  EXPECT_NE(::connect(there->get(), reinterpret_cast<sockaddr*>(&address), size), 0);
}

TEST_F(Inside, APortThatIsTakenIsAConflict) {
  auto first = listen_inside(handle_.get(), {.type = SOCK_STREAM});
  ASSERT_TRUE(first) << first.error().what;
  auto second = listen_inside(handle_.get(), {.port = first->port, .type = SOCK_STREAM});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict);
  auto datagrams = listen_inside(handle_.get(), {.port = first->port, .type = SOCK_DGRAM});
  ASSERT_TRUE(datagrams) << datagrams.error().what;
  EXPECT_EQ(datagrams->port, first->port);
}

TEST_F(Inside, ANameIsNoAddress) {
  auto made = listen_inside(handle_.get(), {.host = "localhost", .type = SOCK_STREAM});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::invalid);
}

Fd new_fs() {
  auto fs = make_fs("tmpfs", "test", {{"size", "64k"}}, MOUNT_ATTR_NOSUID);
  EXPECT_TRUE(fs) << fs.error().what;
  return fs ? std::move(*fs) : Fd();
}

TEST_F(Inside, AMountIsSeenInThereAndNotHere) {
  Fd fs = new_fs();
  Fd file(::openat(fs.get(), "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_TRUE(file);
  auto mounted = mount_inside(handle_.get(), fs.get(), "/mnt/here");
  ASSERT_TRUE(mounted) << mounted.error().what;
  EXPECT_TRUE(*mounted);
  EXPECT_EQ(::access(inside("/mnt/here/file").c_str(), F_OK), 0);
  EXPECT_NE(::access("/mnt/here/file", F_OK), 0);
  auto again = mount_inside(handle_.get(), new_fs().get(), "/mnt/here");
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_FALSE(*again) << "one on top of the other";
}

TEST_F(Inside, AViewShowsWhatIsInADirectoryAndNotWhereItIs) {
  const std::string place = ::testing::TempDir() + str("glovebox-view-", ::getpid());
  ASSERT_TRUE(make_dirs(place + "/shown", 0755) && make_dirs(place + "/none", 0755));
  ASSERT_TRUE(create_file(place + "/shown/program", "x", 0755));
  auto view = make_view(place, "shown");
  ASSERT_TRUE(view) << view.error().what;
  ASSERT_TRUE(mount_inside(handle_.get(), view->get(), "/mnt/here"));
  EXPECT_EQ(::access(inside("/mnt/here/program").c_str(), X_OK), 0);
  EXPECT_NE(::access(inside("/mnt/here/new").c_str(), F_OK), 0);
  EXPECT_LT(::open(inside("/mnt/here/new").c_str(), O_WRONLY | O_CREAT, 0644), 0);
  EXPECT_EQ(errno, EROFS);
  auto mounts = read_file(str("/proc/", process_->pid(), "/mountinfo"), 1 << 20);
  ASSERT_TRUE(mounts);
  const std::size_t at = mounts->find("/mnt/here");
  ASSERT_NE(at, mounts->npos);
  const std::size_t line = mounts->rfind('\n', at) + 1;
  EXPECT_FALSE(mounts->substr(line, mounts->find('\n', at) - line).contains("glovebox-view"));
  EXPECT_TRUE(remove_tree(place));
}

TEST_F(Inside, AMountGoesThroughNoLinkAndOntoNoFileSystemOfTheTenant) {
  EXPECT_FALSE(mount_inside(handle_.get(), new_fs().get(), "/mnt/link"));
  EXPECT_FALSE(mount_inside(handle_.get(), new_fs().get(), "/mnt/link/mnt/here"));
  EXPECT_FALSE(mount_inside(handle_.get(), new_fs().get(), "/etc"));
  EXPECT_FALSE(mount_inside(handle_.get(), new_fs().get(), "/mnt/nothing"));
}

}  // namespace
}  // namespace glovebox::sys

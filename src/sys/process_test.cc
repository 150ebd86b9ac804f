#include "sys/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/temp_dir.h"
#include "sys/packet.h"
#include "sys/tree.h"
#include "sys/unix_socket.h"

namespace glovebox::sys {
namespace {

std::string output_of(SpawnSpec spec) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd read_end(ends[0]), write_end(ends[1]);
  spec.fds.push_back({write_end.get(), 1});
  auto child = spawn(spec);
  EXPECT_TRUE(child) << child.error().what;
  write_end.reset();
  auto text = read_all(read_end.get(), 1 << 20);
  EXPECT_TRUE(text);
  EXPECT_TRUE(child->reap());
  return text.value_or("");
}

TEST(Spawn, ChildHasOnlyTheListedEnvironmentAndDescriptors) {
  ::setenv("GLOVEBOX_CANARY", "secret", 1);
  Fd open_here(::open("/dev/null", O_RDONLY));  // not close-on-exec, and still not the child's
  SpawnSpec spec;
  spec.program = "/bin/sh";
  spec.args = {"sh", "-c", "/usr/bin/env | grep -v '^PWD\\|^_\\|^SHLVL'; ls /proc/self/fd | wc -l"};
  spec.env = {"ONE=1"};
  EXPECT_EQ(output_of(spec), "ONE=1\n4\n");  // 0, 1, 2 and the folder that ls reads
}

TEST(Spawn, MissingProgramIsAnErrorOfTheCall) {
  SpawnSpec spec;
  spec.program = "/no/such/program";
  spec.args = {"x"};
  auto child = spawn(spec);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code, Code::not_found);
}

TEST(Process, DroppingItEndsTheChild) {
  pid_t pid = 0;
  {
    SpawnSpec spec;
    spec.program = "/bin/sleep";
    spec.args = {"sleep", "1000"};
    auto child = spawn(spec);
    ASSERT_TRUE(child);
    pid = child->pid();
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(Packet, CarriesBytesAndDescriptorsWhole) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  Fd a(ends[0]), b(ends[1]);
  ASSERT_TRUE(send_packet(a.get(), "hello", {0, 1}, 0));
  auto packet = receive_packet(b.get(), 100, 2);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->bytes, "hello");
  EXPECT_EQ(packet->fds.size(), 2u);
  ASSERT_TRUE(send_packet(a.get(), "hello", {0, 1}, 0));
  EXPECT_EQ(receive_packet(b.get(), 100, 1).error().code, Code::too_large);
  ASSERT_TRUE(send_packet(a.get(), "hello", {}, 0));
  EXPECT_EQ(receive_packet(b.get(), 4, 1).error().code, Code::too_large);
  a.reset();
  EXPECT_EQ(receive_packet(b.get(), 100, 1)->bytes, "");
}

TEST(UnixSocket, PathsMayBeLongerThanTheKernelsLimit) {
  const std::string base = make_temp_dir("glovebox-test");
  std::string dir = base + "/" + std::string(150, 'd');
  ASSERT_TRUE(make_dirs(dir, 0700));
  auto listener = listen_unix(dir + "/s.sock", SOCK_STREAM);
  ASSERT_TRUE(listener) << listener.error().what;
  EXPECT_TRUE(connect_unix(dir + "/s.sock", SOCK_STREAM));
  listener = listen_unix(dir + "/s.sock", SOCK_STREAM);  // replaces what an earlier process left
  EXPECT_TRUE(listener);
  EXPECT_FALSE(connect_unix(dir + "/other.sock", SOCK_STREAM));
  EXPECT_TRUE(remove_tree(base));
}

}  // namespace
}  // namespace glovebox::sys

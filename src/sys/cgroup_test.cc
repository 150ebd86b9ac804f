#include "sys/cgroup.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/random.h"
#include "sys/tree.h"

namespace glovebox::sys {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr uid_t kBase = 1'900'000'000;
constexpr Millis kLong = 20s;

std::vector<std::string> texts(const std::vector<ControlWrite>& writes) {
  std::vector<std::string> out;
  for (const auto& write : writes) out.push_back(write.file + "=" + write.value);
  return out;
}

TEST(CgroupLimits, Version2) {
  EXPECT_THAT(
      texts(limit_writes(CgroupLayout::v2, {.cpus = 1.5, .memory_bytes = 1 << 20, .pids = 100}, 0)),
      ElementsAre("memory.max=1048576", "memory.swap.max=1048576", "pids.max=104",
                  "cpu.max=150000 100000"));
  EXPECT_THAT(
      texts(limit_writes(CgroupLayout::v2, {.cpus = 0, .memory_bytes = 0, .pids = 0}, 0)),
      ElementsAre("memory.max=max", "memory.swap.max=max", "pids.max=max", "cpu.max=max 100000"));
}

TEST(CgroupLimits, Version1KeepsMemswTheBiggerOneAllTheTime) {
  auto first_two = [](std::int64_t bytes, std::int64_t now) {
    auto all = texts(
        limit_writes(CgroupLayout::hybrid, {.cpus = 1, .memory_bytes = bytes, .pids = 1}, now));
    all.resize(2);
    return all;
  };
  EXPECT_THAT(first_two(5, 0),
              ElementsAre("memory.limit_in_bytes=5", "memory.memsw.limit_in_bytes=5"));
  EXPECT_THAT(first_two(5, 9),
              ElementsAre("memory.limit_in_bytes=5", "memory.memsw.limit_in_bytes=5"));
  EXPECT_THAT(first_two(9, 5),
              ElementsAre("memory.memsw.limit_in_bytes=9", "memory.limit_in_bytes=9"));
  EXPECT_THAT(first_two(0, 5),
              ElementsAre("memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"));
}

TEST(CgroupLimits, ATinyShareOfACpuIsTheKernelsLeast) {
  EXPECT_EQ(texts(limit_writes(CgroupLayout::v2, {.cpus = 0.0001}, 0)).back(),
            "cpu.max=1000 100000");
}

// A directory that looks like a machine's hierarchies.
class FakeCgroups : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "cgroups-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { fs::remove_all(dir_); }
  void write(const std::string& path, std::string_view text) {
    fs::create_directories(fs::path(dir_ + "/" + path).parent_path());
    std::ofstream(dir_ + "/" + path) << text;
  }
  std::string read(const std::string& path) {
    return read_file(dir_ + "/" + path, 1 << 20).value_or("(none)");
  }
  Result<CgroupRoots> find(std::string_view mountinfo) {
    write("mountinfo", mountinfo);
    return find_cgroups(dir_ + "/mountinfo");
  }
  std::string dir_;
};

TEST_F(FakeCgroups, HybridIsRecognized) {
  auto roots = find(
      "27 1 254:0 / / rw - ext4 /dev/vda rw\n"
      "32 31 0:29 / /cg/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
      "35 31 0:32 / /cg/mem\\040ory rw - cgroup cgroup rw,memory\n"
      "40 31 0:37 / /cg/systemd rw - cgroup cgroup rw,name=systemd\n"
      "41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_TRUE(roots) << roots.error().what;
  EXPECT_EQ(roots->layout, CgroupLayout::hybrid);
  EXPECT_EQ(roots->unified, "/cg/unified");
  EXPECT_EQ(roots->memory, "/cg/mem ory");
  EXPECT_EQ(roots->cpu, "/cg/cpu,cpuacct");
  EXPECT_EQ(roots->pids, "");
  EXPECT_THAT(roots->missing, ElementsAre("pids"));
}

TEST_F(FakeCgroups, Version2IsRecognized) {
  write("cgroup.controllers", "cpuset cpu io memory hugetlb\n");
  auto roots = find(str("29 23 0:26 / ", dir_, " rw - cgroup2 cgroup2 rw\n"));
  ASSERT_TRUE(roots) << roots.error().what;
  EXPECT_EQ(roots->layout, CgroupLayout::v2);
  EXPECT_EQ(roots->memory + roots->pids + roots->cpu, "");
  EXPECT_THAT(roots->missing, ElementsAre("pids"));
}

TEST_F(FakeCgroups, WithoutTheUnifiedHierarchyThereAreNoBoxes) {
  auto roots = find("35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\nnonsense\n\n");
  ASSERT_FALSE(roots);
  EXPECT_EQ(roots.error().code, Code::unsupported);
}

TEST_F(FakeCgroups, Version2LimitsAndEventsAreTheTenantsGroup) {
  CgroupRoots roots{.layout = CgroupLayout::v2, .unified = dir_};
  for (const char* file : {"memory.max", "memory.events", "pids.max", "cpu.max"})
    write(str("gb/box/user/", file), "max\n");
  write("gb/box/cgroup.procs", "");
  write("gb/box/cgroup.subtree_control", "");
  write("gb/box/hand/cgroup.procs", "7\n");
  write("gb/box/user/cgroup.procs", "");
  write("gb/box/user/c1/cgroup.procs", "8\n0\n9\n");
  auto box = BoxCgroups::find(roots, "gb", "box");
  ASSERT_TRUE(box && *box);
  auto set = (*box)->set_limits({.cpus = 2, .memory_bytes = 4096, .pids = 10});
  EXPECT_TRUE(set)
      << set.error().what;  // memory.swap.max is not there: a kernel without swap accounting
  EXPECT_EQ(read("gb/box/cgroup.subtree_control"), "+cpu");
  EXPECT_EQ(read("gb/box/user/memory.max"), "4096");
  EXPECT_EQ(read("gb/box/user/pids.max"), "14");
  EXPECT_EQ(read("gb/box/user/cpu.max"), "200000 100000");
  EXPECT_FALSE(fs::exists(dir_ + "/gb/box/user/memory.swap.max"));
  EXPECT_TRUE((*box)->oom_events());
  EXPECT_TRUE((*box)->join_fds()->empty());
  EXPECT_THAT(*(*box)->processes(), UnorderedElementsAre(7, 8, 9));
}

TEST_F(FakeCgroups, HalfABoxIsFound) {
  CgroupRoots roots{.layout = CgroupLayout::hybrid,
                    .unified = dir_ + "/u",
                    .memory = dir_ + "/m",
                    .missing = {"pids", "cpu"}};
  fs::create_directories(dir_ + "/u/gb/whole/user");
  fs::create_directories(dir_ + "/m/gb/whole");
  fs::create_directories(dir_ + "/m/gb/half");
  EXPECT_THAT(*list_boxes(roots, "gb"), ElementsAre("half", "whole"));
  EXPECT_TRUE(list_boxes(roots, "other")->empty());
  auto half = BoxCgroups::find(roots, "gb", "half");
  ASSERT_TRUE(half && *half);
  EXPECT_FALSE(*(*half)->populated());
  EXPECT_TRUE((*half)->kill());  // nobody to kill is killed
  EXPECT_TRUE((*half)->processes()->empty());
  EXPECT_TRUE((*half)->remove());
  EXPECT_FALSE(*BoxCgroups::find(roots, "gb", "half"));
}

// The machine's own.
class RealCgroups : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    auto roots = find_cgroups();
    if (!roots) GTEST_SKIP() << roots.error().what;
    roots_ = *roots;
    auto prepared = prepare(roots_, prefix_);
    if (!prepared && (prepared.error().code == Code::forbidden || prepared.error().tag == "EROFS"))
      GTEST_SKIP() << "control groups are not ours to change: " << prepared.error().what;
    ASSERT_TRUE(prepared) << prepared.error().what;
  }
  void TearDown() override {
    if (roots_.unified.empty()) return;
    auto boxes = list_boxes(roots_, prefix_);
    ASSERT_TRUE(boxes);
    for (const auto& name : *boxes) {
      auto box = BoxCgroups::find(roots_, prefix_, name);
      ASSERT_TRUE(box && *box);
      destroy(**box);
    }
    auto removed = remove_prefix(roots_, prefix_);
    EXPECT_TRUE(removed) << removed.error().what;
  }

  // A process of the tenant, as the hand starts it.
  pid_t start(const BoxCgroups& box, int group, auto body) {
    auto joins = box.join_fds();
    clone_args args{};
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = SIGCHLD;
    args.cgroup = static_cast<std::uint64_t>(group);
    pid_t pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
    if (pid == 0) {
      for (const Fd& join : *joins)
        if (::write(join.get(), "0", 1) != 1) ::_exit(99);
      ::_exit(body());
    }
    if (pid > 0) children_.push_back(pid);
    return pid;
  }
  pid_t start_sleeper(const BoxCgroups& box) {
    auto user = box.user_dir();
    return start(box, user->get(), [] { return ::pause(); });
  }
  int wait(pid_t pid) {
    int status = -1;
    std::erase(children_, pid);
    return ::waitpid(pid, &status, 0) == pid ? status : -1;
  }
  // As the engine does: kill, reap, and rmdir until the last process is really gone.
  void destroy(BoxCgroups& box) {
    EXPECT_TRUE(box.kill());
    while (!children_.empty()) wait(children_.back());
    auto deadline = std::chrono::steady_clock::now() + kLong;
    for (;;) {
      auto removed = box.remove();
      if (removed) return;
      if (removed.error().tag != "EBUSY" || std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << removed.error().what;
        return;
      }
      ::poll(nullptr, 0, 1);
    }
  }
  bool lacks(const std::string& controller) const {
    return std::find(roots_.missing.begin(), roots_.missing.end(), controller) !=
           roots_.missing.end();
  }

  CgroupRoots roots_;
  std::string prefix_ = str("glovebox-test-", random_id(8));
  std::vector<pid_t> children_;
};

TEST_F(RealCgroups, ABoxIsMadeFoundAndRemovedWhole) {
  auto box = BoxCgroups::make(roots_, prefix_, "one", kBase);
  ASSERT_TRUE(box) << box.error().what;
  EXPECT_EQ(BoxCgroups::make(roots_, prefix_, "one", kBase).error().code, Code::conflict);
  EXPECT_THAT(*list_boxes(roots_, prefix_), ElementsAre("one"));
  EXPECT_TRUE(*BoxCgroups::find(roots_, prefix_, "one"));
  EXPECT_FALSE(*BoxCgroups::find(roots_, prefix_, "two"));
  EXPECT_FALSE(*box->populated());
  EXPECT_TRUE(box->hand_dir() && box->user_dir());
  auto prepared = prepare(roots_, prefix_);  // as every start of the engine does
  EXPECT_TRUE(prepared) << prepared.error().what;
  EXPECT_TRUE(box->remove());
  EXPECT_TRUE(box->remove());
  EXPECT_TRUE(list_boxes(roots_, prefix_)->empty());
}

TEST_F(RealCgroups, TheBoxsUserOwnsTheStartingOfProcessesAndNothingElse) {
  auto box = BoxCgroups::make(roots_, prefix_, "owned", kBase);
  ASSERT_TRUE(box) << box.error().what;
  std::string dir = str(roots_.unified, "/", prefix_, "/owned");
  std::vector<std::string> owned;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    struct stat info{};
    ASSERT_EQ(::lstat(entry.path().c_str(), &info), 0);
    if (info.st_uid == kBase) owned.push_back(entry.path().string().substr(dir.size()));
  }
  EXPECT_THAT(owned, UnorderedElementsAre("/cgroup.procs", "/user", "/user/cgroup.procs"));
}

TEST_F(RealCgroups, TheHandMakesGroupsBelowUserAndStartsProcessesThere) {
  auto box = BoxCgroups::make(roots_, prefix_, "hand", kBase);
  ASSERT_TRUE(box) << box.error().what;
  auto hand = box->hand_dir();
  auto user = box->user_dir();
  pid_t pid = start(*box, hand->get(), [&] {
    // The rights of the box's root on the host's hierarchy are those of a plain user.
    if (::syscall(SYS_setresgid, kBase, kBase, kBase) != 0 ||
        ::syscall(SYS_setresuid, kBase, kBase, kBase) != 0)
      return 10;
    if (::mkdirat(user->get(), "c1", 0755) != 0) return 11;
    Fd group(::openat(user->get(), "c1", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    clone_args args{};
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = SIGCHLD;
    args.cgroup = static_cast<std::uint64_t>(group.get());
    pid_t child = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
    if (child == 0) return ::pause();
    if (child < 0) return 12;
    if (::openat(user->get(), "cgroup.freeze", O_WRONLY) >= 0) return 13;
    if (::openat(user->get(), "cgroup.max.descendants", O_WRONLY) >= 0) return 14;
    if (::mkdirat(group.get(), "deeper", 0755) == 0) return 15;
    Fd kill(::openat(group.get(), "cgroup.kill", O_WRONLY | O_CLOEXEC));
    if (::write(kill.get(), "1", 1) != 1) return 16;
    int status = 0;
    if (::waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) return 17;
    return ::unlinkat(user->get(), "c1", AT_REMOVEDIR) == 0 ? 0 : 18;
  });
  ASSERT_GT(pid, 0);
  int status = wait(pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(RealCgroups, KillReachesAFrozenBox) {
  auto box = BoxCgroups::make(roots_, prefix_, "frozen", kBase);
  ASSERT_TRUE(box) << box.error().what;
  pid_t pid = start_sleeper(*box);
  ASSERT_GT(pid, 0);
  EXPECT_TRUE(*box->populated());
  EXPECT_THAT(*box->processes(), ElementsAre(pid));
  auto frozen = box->freeze(true, kLong);
  ASSERT_TRUE(frozen) << frozen.error().what;
  EXPECT_EQ(box->remove().error().tag, "EBUSY");
  EXPECT_TRUE(box->kill());
  int status = wait(pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(RealCgroups, FreezeHoldsTheTenantAndNotTheHand) {
  auto box = BoxCgroups::make(roots_, prefix_, "freeze", kBase);
  ASSERT_TRUE(box) << box.error().what;
  EXPECT_TRUE(box->freeze(true, kLong));  // an empty box freezes too
  EXPECT_TRUE(box->freeze(false, kLong));
  int pipe_fds[2];
  ASSERT_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
  Fd out(pipe_fds[0]), in(pipe_fds[1]);
  auto user = box->user_dir();
  auto hand = box->hand_dir();
  ASSERT_TRUE(box->freeze(true, kLong));
  auto say = [&](char c) { return [&in, c] { return ::write(in.get(), &c, 1) == 1 ? 0 : 1; }; };
  pid_t tenant = start(*box, user->get(), say('t'));  // comes into a frozen group
  pid_t other = start(*box, hand->get(), say('h'));
  ASSERT_TRUE(tenant > 0 && other > 0);
  EXPECT_EQ(wait(other), 0);
  ASSERT_TRUE(box->freeze(true, kLong));
  char said[2] = {};
  EXPECT_EQ(::read(out.get(), said, 2), 1);
  EXPECT_EQ(said[0], 'h');
  ASSERT_TRUE(box->freeze(false, kLong));
  EXPECT_EQ(wait(tenant), 0);
  EXPECT_EQ(::read(out.get(), said, 2), 1);
  EXPECT_EQ(said[0], 't');
}

TEST_F(RealCgroups, LimitsHoldAndChangeLive) {
  auto box = BoxCgroups::make(roots_, prefix_, "limits", kBase);
  ASSERT_TRUE(box) << box.error().what;
  for (std::int64_t mb : {64, 32, 96, 96})  // down, up, the same
    for (double cpus : {0.5, 2.0}) {
      auto set = box->set_limits({.cpus = cpus, .memory_bytes = mb << 20, .pids = 20});
      EXPECT_TRUE(set) << mb << " MB: " << set.error().what;
    }
  if (lacks("pids") || lacks("memory"))
    GTEST_SKIP() << "this machine has no pids or no memory controller";
  auto user = box->user_dir();
  pid_t forks = start(*box, user->get(), [] {
    int made = 0;
    while (made < 100) {
      pid_t child = ::fork();
      if (child == 0) return ::pause();
      if (child < 0) break;
      ++made;
    }
    return made;
  });
  ASSERT_GT(forks, 0);
  int status = wait(forks);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status),
            20 + 4 - 1);  // itself counts, a few are kept for the hand's helpers
  EXPECT_TRUE(box->kill());
}

TEST_F(RealCgroups, AMemoryBombIsKilledAndCounted) {
  if (lacks("memory")) GTEST_SKIP() << "this machine has no memory controller";
  auto box = BoxCgroups::make(roots_, prefix_, "oom", kBase);
  ASSERT_TRUE(box) << box.error().what;
  ASSERT_TRUE(box->set_limits({.cpus = 1, .memory_bytes = 16 << 20, .pids = 20}));
  auto events = box->oom_events();
  ASSERT_TRUE(events) << events.error().what;
  EXPECT_THAT(*read_all(events->get(), 4096), ::testing::HasSubstr("oom_kill 0"));
  auto user = box->user_dir();
  pid_t bomb = start(*box, user->get(), [] {
    for (std::size_t n = 0; n < 64; ++n) {
      auto* block = static_cast<volatile char*>(std::malloc(1 << 20));
      for (std::size_t i = 0; i < 1 << 20; i += 512) block[i] = static_cast<char>(i);
    }
    return 0;
  });
  ASSERT_GT(bomb, 0);
  int status = wait(bomb);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  ::lseek(events->get(), 0, SEEK_SET);
  EXPECT_THAT(*read_all(events->get(), 4096), ::testing::HasSubstr("oom_kill 1"));
}

}  // namespace
}  // namespace glovebox::sys

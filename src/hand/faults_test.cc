// What breaks, or is broken on purpose: the helper, the stream, the engine.
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "hand/test_box.h"

namespace glovebox::hand {
namespace {

class WithAHelper : public testing::TestWithParam<Setting> {
 protected:
  WithAHelper() : box_(GetParam()) {}
  void SetUp() override {
    if (!box_.available()) GTEST_SKIP() << "needs root and a version 2 cgroup hierarchy";
  }
  Box box_;
};
INSTANTIATE_TEST_SUITE_P(Hand, WithAHelper,
                         testing::Values(Setting::plain, Setting::grouped, Setting::sealed),
                         [](const auto& info) { return name(info.param); });

// What only holds with control groups, and what only holds for the first process of a sealed box.
class InGroups : public WithAHelper {};
INSTANTIATE_TEST_SUITE_P(Hand, InGroups, testing::Values(Setting::grouped, Setting::sealed),
                         [](const auto& info) { return name(info.param); });
class InABox : public WithAHelper {};
INSTANTIATE_TEST_SUITE_P(Hand, InABox, testing::Values(Setting::sealed),
                         [](const auto& info) { return name(info.param); });

TEST_P(WithAHelper, ItsDeathTouchesNothingThatRuns) {
  Client engine = box_.connect();
  auto spec = shell("echo one; read line; echo $line");
  spec.stdin_mode = StdinMode::pipe;
  auto running = engine.start(spec);
  ASSERT_TRUE(running);
  std::uint32_t id = engine.last_id();
  engine.read_until(id, "one");
  for (int round = 0; round < 3; ++round) {
    // The helper and the blanks: all but the program itself.
    for (pid_t pid : children_of(box_.pid())) {
      std::ifstream comm(str("/proc/", pid, "/comm"));
      std::string command;
      std::getline(comm, command);
      if (command != "sh") ::kill(pid, SIGKILL);
    }
    EXPECT_EQ(engine.run(shell("echo again")).out, "again\n");
  }
  engine.feed(running->handle, "two\n");
  EXPECT_EQ(engine.collect(id).out, "two\n");
}

TEST_P(WithAHelper, OneThatIsKilledAllTheTimeIsComeBackFrom) {
  Client engine = box_.connect();
  std::vector<std::uint32_t> ids;
  for (int i = 0; i < 30; ++i) {
    ids.push_back(engine.send(Type::start, wire::encode(shell("exit 5"))));
    for (pid_t pid : children_of(box_.pid())) ::kill(pid, SIGKILL);
  }
  for (auto id : ids) {
    // Each is answered, with a process (which may have been killed as well) or an error that says
    // to try again.
    Frame answer = engine.next(id);
    if (answer.type == Type::started) {
      auto info = engine.collect(id).info;
      EXPECT_TRUE(info.exit_code == 5 || info.signal == SIGKILL);
    } else {
      ASSERT_EQ(answer.type, Type::error);
      auto code = wire::decode_error(answer.payload)->code;
      EXPECT_TRUE(code == Code::unavailable || code == Code::timeout) << name(code);
    }
  }
  EXPECT_EQ(engine.run(shell("exit 5")).info.exit_code, 5);
}

TEST_P(InABox, TheHelperAndItsForksCannotGainPrivileges) {
  Client engine = box_.connect();
  auto marked = [](pid_t pid) {
    std::ifstream status(str("/proc/", pid, "/status"));
    std::string all{std::istreambuf_iterator<char>(status), {}};
    return all.find("NoNewPrivs:\t1") != std::string::npos;
  };
  // One that was forked a moment ago marks itself before it does anything else.
  EXPECT_TRUE(eventually([&] {
    auto pids = children_of(box_.pid());
    return !pids.empty() && std::ranges::all_of(pids, marked);
  }));
}

TEST_P(InABox, TheFilterIsOnEveryProgram) {
  Client engine = box_.connect();
  auto outcome =
      engine.run(shell("grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; unshare -U true"));
  EXPECT_NE(outcome.out.find("NoNewPrivs:\t1"), std::string::npos);
  EXPECT_NE(outcome.out.find("Seccomp:\t2"), std::string::npos);
  EXPECT_NE(outcome.info.exit_code, 0);
}

TEST_P(InABox, OrphansAreReapedAndTermFromInsideIsIgnored) {
  Client engine = box_.connect();
  EXPECT_EQ(engine
                .run(shell("for i in 1 2 3 4 5; do (sleep 0.01 & ); done; kill -TERM 1; kill -INT "
                           "1; kill -KILL 1; echo sent"))
                .out,
            "sent\n");
  EXPECT_TRUE(eventually([&] { return children_of(box_.pid()).size() <= 2; }));
  // No zombie either.
  for (auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string line;
    std::getline(stat, line);
    EXPECT_EQ(line.find(str(") Z ", box_.pid(), ' ')), std::string::npos) << line;
  }
  EXPECT_TRUE(engine.ask(Type::ping, Writer().text("still here").take()));
}

TEST_P(InABox, SomebodyFromInsideIsNotTakenForAnEngine) {
  Client engine = box_.connect();
  auto outcome =
      engine.run(program({"python3", "-c",
                          str("import socket; s = socket.socket(socket.AF_UNIX); s.connect('",
                              box_.dir(), ".sock'); print(s.recv(1))")}));
  EXPECT_EQ(outcome.out, "b''\n") << outcome.err;
}

TEST_P(WithAHelper, TermFromOutsideEndsTheBox) {
  Client engine = box_.connect();
  auto info = engine.start(program({"sleep", "1000"}));
  ASSERT_TRUE(info);
  std::uint32_t id = engine.last_id();
  ::kill(box_.pid(), SIGTERM);
  EXPECT_EQ(engine.collect(id).info.signal, static_cast<std::uint32_t>(SIGTERM));
  EXPECT_TRUE(engine.closed());
  EXPECT_EQ(box_.wait(), 0);
}

TEST_P(InGroups, NothingIsLeftOfACallInTheControlGroups) {
  Client engine = box_.connect();
  for (int i = 0; i < 20; ++i) engine.run(shell("sleep 0.001 & sleep 0.002 & exit 0"));
  // One for the helper, one for the blank that is ready.
  EXPECT_TRUE(eventually([&] { return engine.list().size() == 20 && box_.groups() <= 2; }))
      << box_.groups();
}

TEST(Engines, MustSayHelloFirstAndOnce) {
  Box box;
  Client rude = box.connect_silently();
  Frame answer = rude.next(rude.send(Type::list));
  EXPECT_EQ(answer.type, Type::error);
  EXPECT_TRUE(rude.closed());
  Client twice = box.connect();
  EXPECT_FALSE(twice.ask(Type::hello, Writer().u32(1).text("").take()));
  EXPECT_TRUE(twice.closed());
}

TEST(Engines, OfAnotherVersionAreRefusedByName) {
  Box box;
  Client newer = box.connect_silently();
  auto answer = newer.ask(Type::hello, Writer().u32(wire::kHandVersion + 1).text("n").take());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::unsupported);
  EXPECT_TRUE(newer.closed());
}

TEST(Engines, WhoseStreamIsBrokenLoseOnlyTheirConnection) {
  Box box;
  Client good = box.connect();
  auto info = good.start(program({"sleep", "1000"}, Attach::none));
  ASSERT_TRUE(info);
  const std::string broken[] = {
      std::string(12, '\xff'),
      Writer().u32(wire::kMaxPayload + 1).u32(1).u32(13).take(),
      Writer().u32(0).u32(1).u32(0).take(),
      Writer().u32(0).u32(1).u32(15).take(),
      Writer().u32(0).u32(1).u32(64).take(),
      Writer().u32(0).u32(0).u32(13).take(),
      Writer().u32(0).u32(1).u32(13 | 0x100).take(),
  };
  for (const auto& bytes : broken) {
    Client bad = box.connect();
    bad.send_raw(bytes);
    EXPECT_EQ(bad.next(0).type, Type::error);
    EXPECT_TRUE(bad.closed());
  }
  EXPECT_EQ(good.get(info->handle).status, Status::running);
}

TEST(Engines, WhoseRequestsAreWrongAreAnsweredAndKept) {
  Box box;
  Client engine = box.connect();
  const std::pair<Type, std::string> wrong[] = {
      {Type::start, ""},
      {Type::start, "nonsense"},
      {Type::start, wire::encode(StartSpec{})},
      {Type::attach, ""},
      {Type::attach, Writer().u64(99).u8(0).u64(0).take()},
      {Type::attach, Writer().u64(1).u8(7).u64(0).take()},
      {Type::input, "x"},
      {Type::input, Writer().u64(99).take()},
      {Type::input_end, Writer().u64(99).take()},
      {Type::signal, Writer().u64(99).u32(9).u8(0).take()},
      {Type::signal, ""},
      {Type::resize, Writer().u64(99).u32(1).u32(1).take()},
      {Type::list, "x"},
      {Type::get, Writer().u64(99).u8(0).take()},
      {Type::get, Writer().u64(0).take()},
      {Type::get, Writer().u64(~0ull).take()},
      {Type::forget, Writer().u64(99).take()},
      {Type::ping, "x"},
      {Type::shutdown, ""},
  };
  for (const auto& [type, payload] : wrong)
    EXPECT_FALSE(engine.ask(type, payload)) << wire::name(type);
  EXPECT_EQ(engine.run(shell("echo fine")).out, "fine\n");
}

TEST(Engines, ThatDoNotReadAreGivenUp) {
  Box box;
  Client deaf = box.connect();
  EXPECT_TRUE(is_given_up(deaf));
  EXPECT_TRUE(box.connect().ask(Type::ping, Writer().text("").take()));
}

TEST(Engines, ThatDoNotReadOutputStopNothing) {
  Box box;
  Client slow = box.connect(), other = box.connect();
  auto info = slow.start(shell("head -c 20000000 /dev/zero"));  // follows, acknowledges nothing
  ASSERT_TRUE(info);
  EXPECT_TRUE(eventually([&] { return other.get(info->handle).status == Status::exited; }));
  auto outcome = slow.collect(slow.last_id());
  EXPECT_EQ(outcome.next, 20'000'000u);
  EXPECT_EQ(outcome.gaps.size(), 1u);
}

TEST(Engines, MoreThanSixteenAreTurnedAway) {
  Box box;
  {
    std::vector<Client> all;
    for (int i = 0; i < 16; ++i) all.push_back(box.connect());
    Client surplus = box.connect_silently();
    EXPECT_TRUE(surplus.closed());
  }
  EXPECT_TRUE(eventually([&] {
    Client client = box.connect_silently();
    auto id = client.send(Type::hello, Writer().u32(wire::kHandVersion).text("").take());
    return client.next_or_end(id).has_value();
  }));
}

TEST(Rings, AreBoundedForAllProcessesTogether) {
  Box box;
  Client engine = box.connect();
  std::vector<std::uint64_t> handles;
  for (int i = 0; i < 40; ++i) {
    auto info = engine.start(shell("head -c 300000 /dev/zero; exec sleep 1000", Attach::none));
    ASSERT_TRUE(info);
    handles.push_back(info->handle);
  }
  std::size_t kept = 0;
  for (auto handle : handles) {
    ASSERT_TRUE(eventually([&] { return engine.get(handle).output_end == 300'000; }));
  }
  for (auto handle : handles) {
    auto id = engine.send(Type::attach, Writer().u64(handle).u8(0).u64(0).take());
    EXPECT_EQ(engine.next(id).type, Type::process);
    Frame gap = engine.next(id);
    ASSERT_EQ(gap.type, Type::gap);
    Reader in(gap.payload);
    (void)in.u64();
    kept += 300'000 - *in.u64();
    engine.send_as(id, Type::detach);
  }
  EXPECT_LE(kept, 8u << 20);
  EXPECT_GE(kept, 2u << 20);
}

TEST(SmallOutput, OfManyLinesDoesNotGrowTheHand) {
  Box box;
  Client engine = box.connect();
  auto outcome = engine.run(
      shell("i=0; while [ $i -lt 20000 ]; do echo $i; echo e >&2; i=$((i+1)); done", Attach::hold));
  EXPECT_TRUE(outcome.gaps.empty());
  EXPECT_TRUE(outcome.out.ends_with("\n19999\n"));
  EXPECT_EQ(outcome.err.size(), 40'000u);
}

}  // namespace
}  // namespace glovebox::hand

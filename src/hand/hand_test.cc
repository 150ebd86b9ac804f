// Programs: how they start, what they say, how they end.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>

#include "hand/test_box.h"

namespace glovebox::hand {
namespace {

namespace fs = std::filesystem;

class InEverySetting : public testing::TestWithParam<Setting> {
 protected:
  InEverySetting() : box_(GetParam()) {}
  void SetUp() override {
    if (!box_.available()) GTEST_SKIP() << "needs root and a version 2 cgroup hierarchy";
  }
  Box box_;
};
INSTANTIATE_TEST_SUITE_P(Hand, InEverySetting,
                         testing::Values(Setting::plain, Setting::grouped, Setting::sealed),
                         [](const auto& info) { return name(info.param); });

TEST_P(InEverySetting, AProgramRunsAndItsOutputAndExitCodeComeBack) {
  Client engine = box_.connect();
  auto outcome = engine.run(shell("echo out; echo err >&2; exit 7"));
  EXPECT_EQ(outcome.out, "out\n");
  EXPECT_EQ(outcome.err, "err\n");
  EXPECT_EQ(outcome.info.status, Status::exited);
  EXPECT_EQ(outcome.info.exit_code, 7);
  EXPECT_EQ(outcome.info.output_end, 8u);
  EXPECT_EQ(outcome.info.argv[0], "sh");
  EXPECT_GT(outcome.info.ended_ms, 0);
  EXPECT_FALSE(outcome.info.stdin_writable);
}

TEST_P(InEverySetting, ASignalThatEndedItIsTold) {
  Client engine = box_.connect();
  auto outcome = engine.run(shell("kill -USR1 $$"));
  EXPECT_EQ(outcome.info.status, Status::signaled);
  EXPECT_EQ(outcome.info.signal, static_cast<std::uint32_t>(SIGUSR1));
}

TEST_P(InEverySetting, TheCallersEnvironmentLiesOverTheBoxes) {
  Client engine = box_.connect();
  auto spec = shell("echo $BOX $WHO $MINE; test -n \"$HOME\" && test -n \"$USER\" && echo set");
  spec.env = {"WHO=caller", "MINE=2"};
  EXPECT_EQ(engine.run(spec).out, "1 caller 2\nset\n");
}

TEST_P(InEverySetting, ProgramsDoNotSeeOurEnvironmentOrDescriptors) {
  Client engine = box_.connect();
  EXPECT_EQ(engine.run(program({"env"})).out.find("GTEST"), std::string::npos);
  EXPECT_EQ(engine.run(shell("ls /proc/self/fd | wc -l")).out, "4\n");  // 0, 1, 2 and ls's own
}

TEST_P(InEverySetting, ItStartsInItsDirectory) {
  Client engine = box_.connect();
  fs::create_directory(box_.dir() + "/sub");
  EXPECT_EQ(engine.run(program({"pwd"})).out, box_.dir() + "\n");
  auto spec = program({"pwd"});
  spec.cwd = box_.dir() + "/sub";
  EXPECT_EQ(engine.run(spec).out, box_.dir() + "/sub\n");
  spec.cwd = "sub";
  EXPECT_EQ(engine.run(spec).out, box_.dir() + "/sub\n");
  spec.cwd = box_.dir() + "/missing";
  auto refused = engine.start(spec);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().tag, "WORKING_DIRECTORY");
}

TEST_P(InEverySetting, WhatCannotBeRunIsAnErrorOfTheStart) {
  Client engine = box_.connect();
  auto missing = engine.start(program({"no-such-command-here"}));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
  EXPECT_EQ(missing.error().tag, "COMMAND_NOT_FOUND");
  auto directory = engine.start(program({"/tmp"}));
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().tag, "COMMAND_NOT_EXECUTABLE");
  std::ofstream(box_.dir() + "/plain") << "echo from a script without first line\n";
  EXPECT_EQ(engine.start(program({box_.dir() + "/plain"})).error().tag, "COMMAND_NOT_EXECUTABLE");
  fs::permissions(box_.dir() + "/plain", fs::perms::owner_all);
  EXPECT_EQ(engine.run(program({box_.dir() + "/plain"})).out, "from a script without first line\n");
  EXPECT_TRUE(engine.list().size() == 1);  // failed starts leave nothing
}

TEST_P(InEverySetting, FiftyMegabytesThroughCatArriveWhole) {
  Client engine = box_.connect();
  std::string data;
  data.reserve(50 << 20);
  for (std::uint32_t i = 0; data.size() < 50u << 20; ++i) data += str(i * 2654435761u, '\n');
  auto outcome = engine.run(program({"cat"}, Attach::hold), data);
  EXPECT_TRUE(outcome.gaps.empty());
  EXPECT_EQ(outcome.out.size(), data.size());
  EXPECT_TRUE(outcome.out == data);
  EXPECT_EQ(outcome.info.exit_code, 0);
}

TEST_P(InEverySetting, OutputNobodyReadsIsBoundedAndTheGapIsMarked) {
  Client engine = box_.connect();
  auto info = engine.start(shell("head -c 100000000 /dev/zero; echo end", Attach::none));
  ASSERT_TRUE(info);
  ASSERT_TRUE(eventually([&] { return engine.get(info->handle).status != Status::running; }));
  auto id = engine.send(Type::attach, Writer().u64(info->handle).u8(0).u64(0).take());
  EXPECT_EQ(engine.next(id).type, Type::process);
  auto outcome = engine.collect(id);
  ASSERT_EQ(outcome.gaps.size(), 1u);
  EXPECT_EQ(outcome.gaps[0].first, 0u);
  EXPECT_EQ(outcome.next, 100'000'004u);
  EXPECT_LE(outcome.out.size(), wire::kRingBytes);
  EXPECT_GE(outcome.out.size(), wire::kRingBytes / 2);
  EXPECT_TRUE(outcome.out.ends_with("end\n"));
}

TEST_P(InEverySetting, AHeldReaderLosesNothingHoweverLateItReads) {
  Client engine = box_.connect();
  auto info = engine.start(shell("seq 1 200000", Attach::hold));
  ASSERT_TRUE(info);
  std::uint32_t id = engine.last_id();
  // It cannot end: it waits for us.
  EXPECT_TRUE(engine.ask(Type::ping, Writer().text("").take()));
  EXPECT_EQ(engine.get(info->handle).status, Status::running);
  auto outcome = engine.collect(id);
  EXPECT_TRUE(outcome.gaps.empty());
  EXPECT_TRUE(outcome.out.ends_with("\n199999\n200000\n"));
  EXPECT_EQ(outcome.out.size(), 1288895u);
}

TEST_P(InEverySetting, AProcessHeldByAnEngineThatDiedRunsOn) {
  std::uint64_t handle = 0;
  {
    Client dying = box_.connect();
    auto info = dying.start(shell("seq 1 200000", Attach::hold));
    ASSERT_TRUE(info);
    handle = info->handle;
  }
  Client engine = box_.connect();
  EXPECT_TRUE(eventually([&] { return engine.get(handle).status == Status::exited; }));
}

TEST_P(InEverySetting, ALaterEngineAttachesFromTheBeginning) {
  std::uint64_t handle = 0;
  {
    Client first = box_.connect();
    auto spec = shell("echo one; read line; echo $line");
    spec.stdin_mode = StdinMode::pipe;
    auto info = first.start(spec);
    ASSERT_TRUE(info);
    EXPECT_TRUE(info->stdin_writable);
    handle = info->handle;
    EXPECT_EQ(first.read_until(first.last_id(), "one"), "one\n");
  }
  Client second = box_.connect();
  auto id = second.send(Type::attach, Writer().u64(handle).u8(wire::kHold).u64(0).take());
  EXPECT_EQ(second.next(id).type, Type::process);
  second.feed(handle, "two\n");
  EXPECT_EQ(second.collect(id).out, "one\ntwo\n");
}

TEST_P(InEverySetting, TwoEnginesReadTheSameProcess) {
  Client first = box_.connect(), second = box_.connect();
  auto spec = shell("read go; seq 1 50000");
  spec.stdin_mode = StdinMode::pipe;
  spec.attach = Attach::hold;
  auto info = first.start(spec);
  ASSERT_TRUE(info);
  std::uint32_t mine = first.last_id();
  auto id = second.send(Type::attach, Writer().u64(info->handle).u8(wire::kHold).u64(0).take());
  EXPECT_EQ(second.next(id).type, Type::process);
  second.feed(info->handle, "go\n");
  std::string other;
  // The slower one holds the process for both; neither starves the other.
  auto a = std::async(std::launch::async, [&] { return first.collect(mine); });
  auto b = second.collect(id);
  auto c = a.get();
  EXPECT_TRUE(b.gaps.empty() && c.gaps.empty());
  EXPECT_TRUE(b.out == c.out);
  EXPECT_EQ(b.out.size(), 288894u);
}

TEST_P(InEverySetting, ATimeLimitKillsEverythingOfIt) {
  Client engine = box_.connect();
  auto spec = shell("sleep 1000 & sleep 1000");
  spec.timeout_ms = 50;
  auto outcome = engine.run(spec);
  EXPECT_TRUE(outcome.info.timed_out);
  EXPECT_EQ(outcome.info.status, Status::signaled);
  EXPECT_EQ(outcome.info.signal, static_cast<std::uint32_t>(SIGKILL));
  // The whole group: nobody is left to signal.
  EXPECT_TRUE(eventually([&] {
    auto gone = engine.ask(Type::signal, Writer().u64(outcome.info.handle).u32(15).u8(1).take());
    return !gone && gone.error().tag == "PROCESS_NOT_RUNNING";
  }));
}

TEST_P(InEverySetting, BackgroundProcessesOutliveTheirLeaderAndCanBeKilled) {
  Client engine = box_.connect();
  auto outcome = engine.run(shell("(while :; do sleep 0.01; echo tick; done) & echo started"));
  EXPECT_TRUE(outcome.out.starts_with("started\n") || outcome.out.starts_with("tick\n"));
  EXPECT_EQ(outcome.info.status, Status::exited);
  std::uint64_t handle = outcome.info.handle, end = outcome.info.output_end;
  // What they say goes on into the ring.
  EXPECT_TRUE(eventually([&] { return engine.get(handle).output_end > end; }));
  EXPECT_TRUE(engine.ask(Type::signal, Writer().u64(handle).u32(SIGKILL).u8(1).take()));
  EXPECT_TRUE(eventually(
      [&] { return !engine.ask(Type::signal, Writer().u64(handle).u32(SIGTERM).u8(1).take()); }));
}

TEST_P(InEverySetting, SignalsReachTheLeaderOrAll) {
  Client engine = box_.connect();
  auto info =
      engine.start(shell("trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.02; done"));
  ASSERT_TRUE(info);
  std::uint32_t id = engine.last_id();
  engine.read_until(id, "ready");
  EXPECT_TRUE(engine.ask(Type::signal, Writer().u64(info->handle).u32(SIGTERM).u8(0).take()));
  EXPECT_EQ(engine.collect(id).info.exit_code, 3);
  auto late = engine.ask(Type::signal, Writer().u64(info->handle).u32(SIGTERM).u8(0).take());
  EXPECT_EQ(late.error().tag, "PROCESS_NOT_RUNNING");
  EXPECT_EQ(engine.ask(Type::signal, Writer().u64(info->handle).u32(65).u8(0).take()).error().code,
            Code::invalid);
}

TEST_P(InEverySetting, ATerminalHasASizeAndAKeyboard) {
  Client engine = box_.connect();
  auto spec = program({"sh"});
  spec.pty = true;
  spec.rows = 33;
  spec.cols = 111;
  spec.env = {"PS1=$ "};
  auto info = engine.start(spec);
  ASSERT_TRUE(info) << info.error().what;
  EXPECT_TRUE(info->pty);
  std::uint32_t id = engine.last_id();
  engine.feed(info->handle, "stty size; tty; test -t 0 && echo a term''inal\n");
  std::string said = engine.read_until(id, "a terminal\r\n");
  EXPECT_NE(said.find("33 111\r\n/dev/pts/"), std::string::npos) << said;
  EXPECT_TRUE(engine.ask(Type::resize, Writer().u64(info->handle).u32(5).u32(6).take()));
  engine.feed(info->handle, "stty size; echo x''y\n");
  said = engine.read_until(id, "xy");
  EXPECT_NE(said.find("5 6\r\n"), std::string::npos) << said;
  // Ctrl-C reaches what is in front, not the shell.
  engine.feed(info->handle, "sh -c 'echo in fr\"\"ont; exec sleep 1000'\n");
  engine.read_until(id, "in front\r\n");
  engine.feed(info->handle, "\x03");
  engine.feed(info->handle, "exit 4\n");
  EXPECT_EQ(engine.collect(id).info.exit_code, 4);
}

TEST_P(InEverySetting, StdinEndsAndIsRefusedAfterwards) {
  Client engine = box_.connect();
  auto spec = shell("cat; echo done; sleep 1000");
  spec.stdin_mode = StdinMode::pipe;
  auto info = engine.start(spec);
  ASSERT_TRUE(info);
  std::uint32_t id = engine.last_id();
  engine.feed(info->handle, "text ");
  EXPECT_TRUE(engine.ask(Type::input_end, Writer().u64(info->handle).take()));
  EXPECT_EQ(engine.read_until(id, "done\n"), "text done\n");
  Frame refused = engine.next(engine.input(info->handle, "more"));
  ASSERT_EQ(refused.type, Type::error);
  EXPECT_EQ(wire::decode_error(refused.payload)->tag, "STDIN_NOT_WRITABLE");
  EXPECT_FALSE(engine.get(info->handle).stdin_writable);
}

TEST_P(InEverySetting, StdinIsClosedUnlessAskedFor) {
  Client engine = box_.connect();
  auto outcome = engine.run(shell("cat; echo end"));
  EXPECT_EQ(outcome.out, "end\n");
}

TEST_P(InEverySetting, StdinTheProgramClosedIsRefused) {
  Client engine = box_.connect();
  auto spec = shell("exec <&-; echo closed; sleep 1000");
  spec.stdin_mode = StdinMode::pipe;
  auto info = engine.start(spec);
  ASSERT_TRUE(info);
  engine.read_until(engine.last_id(), "closed");
  Frame refused = engine.next(engine.input(info->handle, "x"));
  EXPECT_EQ(wire::decode_error(refused.payload)->tag, "STDIN_NOT_WRITABLE");
}

TEST_P(InEverySetting, MoreStdinThanTheWindowIsRefused) {
  Client engine = box_.connect();
  auto spec = program({"sleep", "1000"}, Attach::none);
  spec.stdin_mode = StdinMode::pipe;
  auto info = engine.start(spec);
  ASSERT_TRUE(info);
  std::string chunk(wire::kMaxChunk, 'x');
  std::uint32_t last = 0;
  for (int i = 0; i < 20; ++i) last = engine.input(info->handle, chunk);
  Frame answer = engine.next(last);
  ASSERT_EQ(answer.type, Type::error);
  EXPECT_EQ(wire::decode_error(answer.payload)->code, Code::exhausted);
}

TEST_P(InEverySetting, DiscardedOutputIsNotThere) {
  Client engine = box_.connect();
  auto spec = shell("echo out; echo err >&2");
  spec.stdout_mode = OutputMode::discard;
  auto outcome = engine.run(spec);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "err\n");
}

TEST_P(InEverySetting, TheTableListsGetsAndForgets) {
  Client engine = box_.connect();
  auto running = engine.start(program({"sleep", "1000"}, Attach::none));
  auto ended = engine.run(shell("exit 0")).info;
  ASSERT_TRUE(running);
  ASSERT_EQ(engine.list().size(), 2u);
  EXPECT_EQ(engine.get(wire::kByPid | running->pid).handle, running->handle);
  EXPECT_EQ(engine.ask(Type::forget, Writer().u64(running->handle).take()).error().tag,
            "PROCESS_RUNNING");
  EXPECT_TRUE(engine.ask(Type::forget, Writer().u64(ended.handle).take()));
  EXPECT_EQ(engine.ask(Type::get, Writer().u64(ended.handle).take()).error().tag,
            "PROCESS_NOT_FOUND");
  EXPECT_EQ(engine.ask(Type::get, Writer().u64(wire::kByPid | 1).take()).error().code,
            Code::not_found);
  ASSERT_EQ(engine.list().size(), 1u);
}

TEST_P(InEverySetting, OnlyTheLastEndedOnesAreKept) {
  Client engine = box_.connect();
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < wire::kKeepEnded + 5; ++i)
    last = engine.run(program({"true"})).info.handle;
  auto all = engine.list();
  EXPECT_EQ(all.size(), wire::kKeepEnded);
  EXPECT_EQ(all.back().handle, last);
}

TEST_P(InEverySetting, ATransferIsInNoListAndPushesNothingOut) {
  Client engine = box_.connect();
  // More than all rings together may have: what one of them takes now another one loses.
  std::vector<std::uint64_t> handles;
  for (int i = 0; i < 20; ++i)
    handles.push_back(engine.run(shell("head -c 300000 /dev/zero")).info.handle);
  auto kept = [&] {
    std::size_t bytes = 0;
    for (std::uint64_t handle : handles) {
      EXPECT_TRUE(engine.ask(Type::attach, Writer().u64(handle).u8(0).u64(0).take()));
      bytes += engine.collect(engine.last_id()).out.size();
    }
    return bytes;
  };
  const std::size_t before = kept();
  ASSERT_GT(before, 8 * wire::kRingBytes);
  auto info = engine.start(shell("cat /dev/zero", Attach::alone));
  ASSERT_TRUE(info);
  std::uint32_t transfer = engine.last_id();
  EXPECT_TRUE(eventually([&] { return engine.get(info->handle).output_end >= wire::kRingBytes; }));
  EXPECT_EQ(engine.list().size(), handles.size());
  EXPECT_EQ(kept(), before);
  EXPECT_TRUE(engine.ask(Type::signal, Writer().u64(info->handle).u32(SIGKILL).u8(1).take()));
  EXPECT_EQ(engine.collect(transfer).info.status, Status::signaled);
  EXPECT_FALSE(engine.ask(Type::get, Writer().u64(info->handle).take()));
}

TEST_P(InEverySetting, ATransferEndsWithItsClient) {
  Client watching = box_.connect();
  std::uint64_t handle = 0;
  {
    Client engine = box_.connect();
    auto info = engine.start(shell("sleep 1000", Attach::alone));
    ASSERT_TRUE(info);
    handle = info->handle;
    EXPECT_TRUE(watching.ask(Type::get, Writer().u64(handle).take()));
  }
  EXPECT_TRUE(eventually([&] { return !watching.ask(Type::get, Writer().u64(handle).take()); }));
  EXPECT_EQ(watching.list().size(), 0u);
}

// What it left behind has no name any more by which anybody could end it.
TEST_P(InEverySetting, WhatATransferLeftBehindGoesWithIt) {
  const std::string held = box_.dir() + "/held";
  ASSERT_EQ(::mkfifo(held.c_str(), 0666), 0);
  Fd reading(::open(held.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(reading);
  Client engine = box_.connect();
  // Held open for writing by both that stay: by the one in its group, and by one that has left
  // group and session, and speaks.
  auto info =
      engine.start(shell("exec 3>held; echo on >&3; sleep 1000 & setsid sh -c '"
                         "while echo more; do sleep 0.01; done' & exit 0",
                         Attach::alone));
  ASSERT_TRUE(info);
  EXPECT_EQ(engine.collect(engine.last_id()).info.status, Status::exited);
  char said[16];
  EXPECT_EQ(::read(reading.get(), said, sizeof said), 3);
  EXPECT_TRUE(eventually([&] { return ::read(reading.get(), said, sizeof said) == 0; }));
}

TEST_P(InEverySetting, ATransferWaitsForAClientThatIsSlow) {
  constexpr std::size_t kSaid = wire::kRingBytes + 50'000;  // a ring full, and the rest in the pipe
  Client engine = box_.connect();
  auto info = engine.start(shell(str("head -c ", kSaid, " /dev/zero"), Attach::alone));
  ASSERT_TRUE(info);
  std::uint32_t transfer = engine.last_id();
  EXPECT_TRUE(eventually([&] { return engine.get(info->handle).status == Status::exited; }));
  ::usleep(700'000);  // longer than it waits for what nobody reads
  Outcome outcome = engine.collect(transfer);
  EXPECT_EQ(outcome.out.size(), kSaid);
  EXPECT_TRUE(outcome.gaps.empty());
}

TEST_P(InEverySetting, ManyTransfersAtOnceHaveRoom) {
  Client engine = box_.connect();
  std::vector<std::uint64_t> handles;
  for (int i = 0; i < 12; ++i) {
    auto info = engine.start(shell("cat /dev/zero", Attach::alone));
    ASSERT_TRUE(info);
    handles.push_back(info->handle);
  }
  for (std::uint64_t handle : handles)
    EXPECT_TRUE(eventually([&] { return engine.get(handle).output_end >= wire::kRingBytes; }));
}

TEST_P(InEverySetting, ALongOneThatEndsAfterManyShortOnesIsReadWhole) {
  Client engine = box_.connect();
  auto slow = shell("read line; echo $line", Attach::hold);
  slow.stdin_mode = StdinMode::pipe;
  auto held = engine.start(slow);
  ASSERT_TRUE(held);
  std::uint32_t reader = engine.last_id();
  for (std::size_t i = 0; i < wire::kKeepEnded + 5; ++i) (void)engine.run(program({"true"}));
  engine.input(held->handle, "still here\n");
  Outcome outcome = engine.collect(reader);
  EXPECT_EQ(outcome.out, "still here\n");
  EXPECT_TRUE(outcome.gaps.empty());
  EXPECT_EQ(engine.get(held->handle).status, Status::exited);  // and is among the last that ended
}

TEST_P(InEverySetting, ManyAtOnceAllStart) {
  Client engine = box_.connect();
  std::vector<std::uint32_t> ids;
  for (int i = 0; i < 50; ++i)
    ids.push_back(engine.send(Type::start, wire::encode(shell(str("echo ", i)))));
  for (int i = 0; i < 50; ++i) {
    Frame answer = engine.next(ids[i]);
    ASSERT_EQ(answer.type, Type::started) << wire::decode_error(answer.payload)->what;
    EXPECT_EQ(engine.collect(ids[i]).out, str(i, "\n"));
  }
}

TEST_P(InEverySetting, DetachEndsTheReaderAndNothingElse) {
  Client engine = box_.connect();
  auto info = engine.start(shell("echo one; sleep 1000"));
  ASSERT_TRUE(info);
  std::uint32_t id = engine.last_id();
  engine.read_until(id, "one");
  engine.send_as(id, Type::detach);
  EXPECT_EQ(engine.next(id).type, Type::ok);
  EXPECT_EQ(engine.get(info->handle).status, Status::running);
}

TEST_P(InEverySetting, ShutdownLetsProgramsTidyUpAndThenKillsThem) {
  Client engine = box_.connect();
  auto polite =
      engine.start(shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done"));
  std::uint32_t id = engine.last_id();
  auto stubborn = engine.start(shell("trap '' TERM; echo ready; while :; do sleep 0.02; done"));
  std::uint32_t other = engine.last_id();
  ASSERT_TRUE(polite && stubborn);
  engine.read_until(id, "ready");
  engine.read_until(other, "ready");
  EXPECT_TRUE(engine.ask(Type::shutdown, Writer().u32(300).take()));
  EXPECT_FALSE(engine.start(program({"true"})));
  auto bye = engine.collect(id);
  EXPECT_EQ(bye.info.status, Status::exited);
  auto killed = engine.collect(other);
  EXPECT_EQ(killed.info.signal, static_cast<std::uint32_t>(SIGKILL));
  EXPECT_TRUE(engine.closed());
  EXPECT_EQ(box_.wait(), 0);
}

}  // namespace
}  // namespace glovebox::hand

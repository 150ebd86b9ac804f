// Tool calls that are given their input with their start: one message there, and all of the answer
// at once.
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>

#include "hand/test_box.h"

namespace glovebox::hand {
namespace {

namespace fs = std::filesystem;

StartSpec given(std::string name, std::string input, Attach attach = Attach::hold) {
  StartSpec spec = tool(std::move(name));
  spec.stdin_mode = StdinMode::given;
  spec.input = std::move(input);
  spec.attach = attach;
  return spec;
}

StartSpec bash(std::string command, Attach attach = Attach::hold) {
  return given("bash", str(R"({"command":")", command, "\"}"), attach);
}

std::string says(std::string_view text) {
  return str(R"({"content":")", text, R"(","is_error":false})");
}

class Given : public testing::TestWithParam<Setting> {
 protected:
  Given() : box_(GetParam()) {}
  void SetUp() override {
    if (!box_.available()) GTEST_SKIP() << "needs root and a version 2 cgroup hierarchy";
    engine_.emplace(box_.connect());
  }
  std::string path(std::string name) const { return box_.dir() + "/" + name; }
  Outcome run(const StartSpec& spec) { return engine_->run(spec); }
  std::uint32_t begin(const StartSpec& spec) {
    return engine_->send(Type::start, wire::encode(spec));
  }
  void kill_all(std::uint64_t handle) {
    EXPECT_TRUE(engine_->ask(Type::signal, Writer().u64(handle).u32(SIGKILL).u8(1).take()));
  }
  void signal_children(int number) {
    // (In the sealed box their numbers are others outside.)
    for (pid_t pid : children_of(box_.pid())) ::kill(pid, number);
  }
  bool has_said(std::uint64_t handle, std::uint64_t bytes) {
    return eventually([&] { return engine_->get(handle).output_end == bytes; });
  }
  // A call whose result the hand has heard to its end, and has no room for: nobody takes it.
  ProcessInfo hold_up() {
    std::ofstream(path("f")) << std::string(133'000, '"');  // each of them two in JSON
    auto info = engine_->start(given("read", R"({"file_path":"f"})"));
    EXPECT_TRUE(info);
    if (!info) return {};
    held_ = engine_->last_id();
    EXPECT_TRUE(has_said(info->handle, wire::kRingBytes));
    // Whole pieces fill it. A little of the next, which is the last, goes in when that has come.
    engine_->send_as(held_, Type::ack, Writer().u64(kLittle).take());
    EXPECT_TRUE(has_said(info->handle, wire::kRingBytes + kLittle));
    EXPECT_EQ(engine_->get(info->handle).status, Status::running);
    return *info;
  }
  static constexpr std::uint64_t kLittle = 100;

  Box box_;
  std::optional<Client> engine_;
  std::uint32_t held_ = 0;  // the reader of hold_up()'s
};
INSTANTIATE_TEST_SUITE_P(Hand, Given,
                         testing::Values(Setting::plain, Setting::grouped, Setting::sealed),
                         [](const auto& info) { return name(info.param); });

TEST_P(Given, EveryToolAnswers) {
  std::ofstream(path("f")) << "text\n";
  EXPECT_NE(run(given("read", R"({"file_path":"f"})")).out.find("text"), std::string::npos);
  EXPECT_NE(run(given("glob", R"({"pattern":"*"})")).out.find("f"), std::string::npos);
  EXPECT_NE(run(given("grep", "no json")).out.find("is_error\":true"), std::string::npos);
  auto outcome = run(bash("echo $((6*7))"));
  EXPECT_EQ(outcome.out, says("42"));
  EXPECT_EQ(outcome.info.status, Status::exited);
  EXPECT_EQ(outcome.info.exit_code, 0);
}

TEST_P(Given, AnInputThatIsTooLongForAMessageComesAsAFile) {
  std::string text(100'000, 'x');
  auto wrote = run(given("write", str(R"({"file_path":"f","content":")", text, "\"}")));
  EXPECT_NE(wrote.out.find("is_error\":false"), std::string::npos) << wrote.out;
  EXPECT_EQ(fs::file_size(path("f")), text.size());
}

TEST_P(Given, ACallThatTakesLongIsToldOfBeforeItEnds) {
  for (int round = 0; round < 2; ++round) {  // with a new shell, and with one that is lent
    ASSERT_EQ(::mkfifo(path(str("go", round)).c_str(), 0600), 0);
    auto info = engine_->start(bash(str("cat go", round)));
    ASSERT_TRUE(info);
    EXPECT_EQ(info->status, Status::running);
    std::uint32_t id = engine_->last_id();
    std::ofstream(path(str("go", round))) << "went\n";
    EXPECT_EQ(engine_->collect(id).out, says("went"));
  }
}

TEST_P(Given, WithOneReaderAloneACallIsForgottenWithItsEnd) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run(bash("echo x", Attach::alone)).out, says("x"));
  auto outcome = run(given("glob", R"({"pattern":"*"})", Attach::alone));
  EXPECT_EQ(engine_->list().size(), 0u);
  auto later = engine_->ask(Type::get, Writer().u64(outcome.info.handle).take());
  EXPECT_EQ(later.error().tag, "PROCESS_NOT_FOUND");
}

TEST_P(Given, TheShellIsOneForAllCalls) {
  run(bash("cd /; X=5"));
  EXPECT_EQ(run(bash("pwd; echo $X")).out, says("/\\n5"));
  // A call that did not need it after all leaves it as it is.
  EXPECT_NE(run(given("bash", R"({"command":5})")).out.find("must be a string"), std::string::npos);
  EXPECT_EQ(run(bash("echo $X")).out, says("5"));
  EXPECT_EQ(run(given("bash", R"({"restart":true})")).out, says("bash session restarted"));
  EXPECT_EQ(run(bash("echo x$X")).out, says("x"));
  EXPECT_EQ(run(given("bash", R"({"command":"X=6","restart":true})")).out, says("(no output)"));
  EXPECT_EQ(run(bash("echo x$X")).out, says("x6"));
  EXPECT_NE(run(bash("exit 3")).out.find("bash session terminated"), std::string::npos);
  EXPECT_EQ(run(bash("echo x$X")).out, says("x"));
}

TEST_P(Given, CallsOfTheShellTakeTurns) {
  run(bash("N=0"));
  std::vector<std::uint32_t> ids;
  for (int i = 0; i < 8; ++i) ids.push_back(begin(bash("N=$((N+1)); sleep 0.01; echo $N")));
  std::vector<std::string> said;
  for (auto id : ids) {
    EXPECT_EQ(engine_->next(id).type, Type::started);
    said.push_back(engine_->collect(id).out);
  }
  std::ranges::sort(said);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(said[i], says(str(i + 1)));
}

TEST_P(Given, ACallThatIsKilledTakesTheLentShellAlong) {
  run(bash("X=5"));
  auto info = engine_->start(bash("touch running; sleep 1000"));
  ASSERT_TRUE(info);
  std::uint32_t id = engine_->last_id();
  ASSERT_TRUE(eventually([&] { return fs::exists(path("running")); }));
  kill_all(info->handle);
  EXPECT_EQ(engine_->collect(id).info.status, Status::signaled);
  EXPECT_EQ(run(bash("echo new$X")).out, says("new"));
}

TEST_P(Given, AProcessThatIsKilledBeforeItTakesItsCallIsReplaced) {
  std::ofstream(path("f")) << "text";
  auto last = run(given("read", R"({"file_path":"f"})"));
  for (int i = 0; i < 30; ++i) {
    signal_children(SIGKILL);
    auto next = run(given("read", R"({"file_path":"f"})"));
    ASSERT_EQ(next.info.status, Status::exited) << i;
    EXPECT_EQ(next.out, last.out);
  }
}

TEST_P(Given, AResultIsWholeHoweverSlowlyItIsRead) {
  std::ofstream(path("f")) << std::string(250'000, '"');  // each of them two in JSON
  std::uint32_t id = begin(given("read", R"({"file_path":"f"})"));
  std::uint32_t other = begin(given("read", R"({"file_path":"f"})"));
  EXPECT_EQ(engine_->next(id).type, Type::started);
  EXPECT_EQ(engine_->next(other).type, Type::started);
  // Nobody takes it: it waits, and holds up nobody else.
  EXPECT_EQ(run(bash("echo x")).out, says("x"));
  auto first = engine_->collect(id), second = engine_->collect(other);
  EXPECT_GT(first.out.size(), 500'000u);
  EXPECT_TRUE(first.out.ends_with(",\"is_error\":false}"));
  EXPECT_EQ(first.out, second.out);
  EXPECT_TRUE(first.gaps.empty());
  EXPECT_EQ(first.info.exit_code, 0);
  EXPECT_EQ(run(bash("echo y")).out, says("y"));
}

TEST_P(Given, AResultThatWasToldIsWholeAlthoughItsProcessDies) {
  auto info = hold_up();
  signal_children(SIGKILL);
  EXPECT_TRUE(eventually([&] { return engine_->get(info.handle).status != Status::running; }));
  auto outcome = engine_->collect(held_);
  EXPECT_EQ(outcome.info.status, Status::exited);
  EXPECT_EQ(outcome.info.exit_code, 0);
  EXPECT_TRUE(outcome.out.ends_with(",\"is_error\":false}"));
  EXPECT_GT(outcome.out.size(), 266'000u);
  EXPECT_EQ(run(bash("echo x")).out, says("x"));
}

TEST_P(Given, AReaderThatIsGivenUpHoldsUpNobody) {
  auto info = hold_up();
  Client other = box_.connect();
  std::uint32_t rest = other.send(
      Type::attach, Writer().u64(info.handle).u8(0).u64(wire::kRingBytes + kLittle).take());
  EXPECT_EQ(other.next(rest).type, Type::process);
  EXPECT_TRUE(is_given_up(*engine_));
  // And nothing else happens in the box.
  EXPECT_EQ(other.next(rest).type, Type::output);
  EXPECT_EQ(other.next(rest).type, Type::exited);
}

// Its process stands still, as if the kernel kept it: nobody knows what it has done.
TEST_P(Given, ACallThatMayHaveBegunHasNotFailedWhenTheBoxEnds) {
  run(given("glob", R"({"pattern":"*"})"));
  signal_children(SIGSTOP);
  std::uint32_t id = begin(given("glob", R"({"pattern":"*"})"));
  EXPECT_TRUE(engine_->ask(Type::ping, Writer().text("").take()));  // by now it was given to it
  EXPECT_TRUE(engine_->ask(Type::shutdown, Writer().u32(10'000).take()));
  EXPECT_EQ(engine_->next(id).type, Type::started);
  signal_children(SIGCONT);
  EXPECT_EQ(box_.wait(), 0);
}

TEST(LateCall, GoesOn) {
  Box box;
  Client engine = box.connect();
  std::ofstream(box.dir() + "/f") << "text";
  const StartSpec spec = given("read", R"({"file_path":"f"})");
  const std::string text = engine.run(spec).out;
  for (pid_t pid : children_of(box.pid())) ::kill(pid, SIGSTOP);
  auto info = engine.start(spec);  // it takes the ten seconds after which other starts fail
  std::uint32_t id = engine.last_id();
  for (pid_t pid : children_of(box.pid())) ::kill(pid, SIGCONT);
  ASSERT_TRUE(info) << info.error().what;
  EXPECT_EQ(engine.collect(id).out, text);
}

TEST_P(Given, WhatCannotBeginIsAnErrorOfTheStart) {
  auto spec = bash("echo x");
  spec.cwd = path("nowhere");
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(engine_->start(spec).error().tag, "WORKING_DIRECTORY");
    EXPECT_EQ(run(bash("echo x; X=5")).out, says("x"));  // and the lent shell is free
  }
  EXPECT_EQ(run(bash("echo $X")).out, says("5"));
}

}  // namespace
}  // namespace glovebox::hand

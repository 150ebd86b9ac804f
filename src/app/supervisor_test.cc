// The supervisor with parts that are shell scripts: what a part sees and says is all that matters
// to it.
#include "app/supervisor.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "base/log.h"

namespace glovebox::app {
namespace {

namespace fs = std::filesystem;

class SupervisorRun : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "glovebox-super-XXXXXX").string();
    ASSERT_TRUE(::mkdtemp(pattern.data()));
    dir_ = pattern;
    log::set_level(log::Level::off);
    fs::create_directory(dir_ + "/seen");
  }
  void TearDown() override { fs::remove_all(dir_); }

  // Starts with the working directory at `seen`. $PPID is the supervisor, descriptor 4 its channel.
  Result<void> run(const std::string& script) {
    std::ofstream(dir_ + "/part.sh") << "cd " << dir_ << "/seen || exit 9\n" << script;
    PartSpec spec{.name = "engine",
                  .command = dir_ + "/part.sh",
                  .user = "root",
                  .keys = {"engine"},
                  .listen = [](Config& c) -> std::string& { return c.engine.listen; }};
    Config config;
    config.state = dir_ + "/state";
    config.engine.listen = "127.0.0.1:0";
    SupervisorOptions options{.config = config, .parts = {&spec}, .program = "/bin/sh"};
    options.environment = {{"SECRET_OF_THE_SHELL", "x"}};
    options.note = [this](const std::string& text) { notes_ += text + "\n"; };
    options.ready = [this](const Endpoints& endpoints) { ready_.push_back(endpoints); };
    TRY(supervisor, Supervisor::make(std::move(options)));
    return supervisor->run();
  }
  std::string seen(const char* name) {
    std::ifstream file(dir_ + "/seen/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string dir_, notes_;
  std::vector<Endpoints> ready_;
};

TEST_F(SupervisorRun, StopsItsPartsWhenAskedTo) {
  auto ran =
      run("trap 'echo stopped > stopped; exit 0' TERM\n"
          "echo ready >&4\nenv > env\nkill -TERM $PPID\nwhile :; do sleep 0.01; done\n");
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(seen("stopped"), "stopped\n");
  ASSERT_EQ(ready_.size(), 1u);
  EXPECT_TRUE(ready_[0].parts[0].url.starts_with("http://127.0.0.1:"));
  EXPECT_EQ(seen("env").find("SECRET_OF_THE_SHELL"), std::string::npos);
  EXPECT_NE(seen("env").find("GLOVEBOX_ENGINE_LISTEN="), std::string::npos);
  EXPECT_FALSE(fs::exists(dir_ + "/state/run/endpoints.json"));
}

TEST_F(SupervisorRun, StartsAgainWhatDies) {
  auto ran =
      run("if [ ! -e died ]; then touch died; echo ready >&4; exit 3; fi\n"
          "cp ../state/run/endpoints.json endpoints; echo ready >&4; kill -TERM $PPID; exit 0\n");
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_NE(seen("endpoints").find("\"restarts\":1"), std::string::npos) << seen("endpoints");
  EXPECT_NE(seen("endpoints").find("exit code 3"), std::string::npos);
  EXPECT_NE(notes_.find("engine died (exit code 3)"), std::string::npos);
}

TEST_F(SupervisorRun, APartThatNeverWorkedEndsItWithThePartsOwnWords) {
  auto ran = run("echo 'failed no kernel for this' >&4\nexit 1\n");
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().what, "engine could not be started: no kernel for this");
  EXPECT_TRUE(ready_.empty());
}

TEST_F(SupervisorRun, TellsAPartItsKeysAndTheirSuccessors) {
  auto ran =
      run("read key <&4; echo \"$key\" > first; read start <&4; echo \"$start\" >> first; echo "
          "ready >&4\n"
          "umask 077; echo the-key-of-another-day > new; mv new ../state/keys/engine\n"
          "read key <&4; echo \"$key\" > second; kill -TERM $PPID\n");
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_TRUE(seen("first").starts_with("key engine gb_engine_")) << seen("first");
  EXPECT_TRUE(seen("first").ends_with("\nstart\n"));
  EXPECT_EQ(seen("second"), "key engine the-key-of-another-day\n");
}

TEST_F(SupervisorRun, IsOneForAStateDirectory) {
  fs::create_directories(dir_ + "/state/run");
  auto lock = InstanceLock::take(dir_ + "/state");
  ASSERT_TRUE(lock);
  auto ran = run("echo ready >&4; kill -TERM $PPID\n");
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, Code::conflict);
  EXPECT_NE(ran.error().what.find("already running"), std::string::npos);
}

}  // namespace
}  // namespace glovebox::app

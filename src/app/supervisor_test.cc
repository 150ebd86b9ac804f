// The supervisor with parts that are shell scripts: what a part sees and says is all that matters
// to it.
#include "app/supervisor.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

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

  // A part whose program is a script. It starts with the working directory at `seen`; $PPID is the
  // supervisor, descriptor 4 its channel.
  PartSpec part(const std::string& name, const std::string& script) {
    std::ofstream(dir_ + "/" + name + ".sh") << "cd " << dir_ << "/seen || exit 9\n" << script;
    return {.name = name,
            .command = dir_ + "/" + name + ".sh",
            .user = PartSpec::User::root,
            .keys = {"engine"},
            .listen = [](Config& c) -> std::string& { return c.engine.listen; }};
  }
  Result<void> run_parts(std::vector<const PartSpec*> parts) {
    Config config;
    config.state = dir_ + "/state";
    config.engine.listen = config.brain.listen = "127.0.0.1:0";
    SupervisorOptions options{.config = config, .parts = std::move(parts), .program = "/bin/sh"};
    options.environment = {{"SECRET_OF_THE_SHELL", "x"}};
    options.keys = keys_;
    options.claims = dir_ + "/claims";
    options.note = [this](const std::string& text) { notes_ += text + "\n"; };
    options.ready = [this](const Endpoints& endpoints) {
      ready_.push_back(endpoints);
      if (stop_when_ready_) ::kill(::getpid(), SIGTERM);
    };
    TRY(supervisor, Supervisor::make(std::move(options)));
    return supervisor->run();
  }
  Result<void> run(const std::string& script) {
    PartSpec spec = part("engine", script);
    return run_parts({&spec});
  }
  std::string seen(const char* name) {
    std::ifstream file(dir_ + "/seen/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string dir_, notes_;
  std::vector<Endpoints> ready_;
  bool stop_when_ready_ = false;
  std::map<std::string, Secret, std::less<>> keys_;
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

TEST_F(SupervisorRun, TellsAPartWhereTheOthersAre) {
  PartSpec engine = part("engine", "echo ready >&4; while :; do sleep 0.01; done\n");
  PartSpec other =
      part("orchestrator",
           "while read word rest <&4 && [ $word != start ]; do echo $word $rest >> told; "
           "done\necho ready >&4; kill -TERM $PPID\n");
  other.listen = [](Config& c) -> std::string& { return c.orchestrator.listen; };  // nowhere
  other.urls = {"engine"};
  auto ran = run_parts({&engine, &other});
  ASSERT_TRUE(ran) << ran.error().what;
  ASSERT_EQ(ready_.size(), 1u);
  EXPECT_NE(seen("told").find("url engine " + ready_[0].parts[0].url + "\n"), std::string::npos)
      << seen("told");
  EXPECT_EQ(ready_[0].parts[1].url, "");
}

TEST_F(SupervisorRun, TheLastPartStopsFirst) {
  std::string script =
      "trap 'sleep 0.1; echo NAME >> stopped; exit 0' TERM\necho ready >&4\n"
      "while :; do sleep 0.01; done\n";
  auto named = [&](const std::string& name) {
    return std::string(script).replace(script.find("NAME"), 4, name);
  };
  PartSpec engine = part("engine", named("engine"));
  PartSpec brain = part("brain", named("brain"));
  brain.listen = [](Config& c) -> std::string& { return c.brain.listen; };
  PartSpec last = part("orchestrator", named("orchestrator"));
  last.listen = [](Config& c) -> std::string& { return c.orchestrator.listen; };
  stop_when_ready_ = true;
  auto ran = run_parts({&engine, &brain, &last});
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(seen("stopped"), "orchestrator\nbrain\nengine\n");
}

TEST_F(SupervisorRun, OptionalKeysComeAndGo) {
  PartSpec spec = part(
      "engine",
      "while IFS= read -r line <&4 && [ \"$line\" != start ]; do echo \"$line\"; done > first\n"
      "echo ready >&4; umask 077; echo a-key-of-the-model > new; mv new "
      "../state/keys/model\n"
      "read key <&4; IFS= read -r model <&4; echo \"$model\" > second; rm ../state/keys/model\n"
      "read key <&4; IFS= read -r model <&4; echo \"$model\" > third; kill -TERM $PPID\n");
  spec.optional_keys = {"model"};
  auto ran = run_parts({&spec});
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_TRUE(seen("first").ends_with("\nkey model \n")) << seen("first");
  EXPECT_EQ(seen("second"), "key model a-key-of-the-model\n");
  EXPECT_EQ(seen("third"), "key model \n");
}

TEST_F(SupervisorRun, AKeyOfOursIsNeverTheModels) {
  fs::create_directories(dir_ + "/state/keys");
  std::ofstream(dir_ + "/state/keys/model") << "gb-api-0123456789abcdef\n";
  fs::permissions(dir_ + "/state/keys/model", fs::perms::owner_read);
  PartSpec spec = part("engine", "echo ready >&4; kill -TERM $PPID\n");
  spec.optional_keys = {"model"};
  auto ran = run_parts({&spec});
  ASSERT_FALSE(ran);
  EXPECT_NE(ran.error().what.find("never sent to a model"), std::string::npos) << ran.error().what;
}

TEST_F(SupervisorRun, AGivenKeyBeatsTheFileAndIsNotWrittenDown) {
  keys_["engine"] = Secret("given-by-a-person");
  auto ran =
      run("read key <&4; echo \"$key\" > told; env > env; echo ready >&4; kill -TERM $PPID\n");
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(seen("told"), "key engine given-by-a-person\n");
  EXPECT_EQ(seen("env").find("given-by-a-person"), std::string::npos);
  EXPECT_FALSE(fs::exists(dir_ + "/state/keys/engine"));
}

TEST_F(SupervisorRun, APartOfItsOwnUserIsToldWhoItIs) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a part another user";
  fs::permissions(dir_, fs::perms::others_exec, fs::perm_options::add);
  PartSpec spec =
      part("engine", "read user <&4; echo \"$user\" > told; echo ready >&4; kill -TERM $PPID\n");
  spec.user = PartSpec::User::own;
  auto ran = run_parts({&spec});
  ASSERT_TRUE(ran) << ran.error().what;
  struct stat info{};
  ASSERT_EQ(::stat((dir_ + "/state/engine").c_str(), &info), 0);
  EXPECT_GE(info.st_uid, kFirstUser);
  EXPECT_EQ(seen("told"), str("user ", info.st_uid, ' ', info.st_gid, '\n'));
}

TEST_F(SupervisorRun, AStateDirectoryNobodyElseCanReachIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a part another user";
  PartSpec spec = part("engine", "echo ready >&4; kill -TERM $PPID\n");
  spec.user = PartSpec::User::own;
  auto ran = run_parts({&spec});  // mkdtemp closed it
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, Code::forbidden);
  EXPECT_NE(ran.error().what.find(dir_), std::string::npos) << ran.error().what;
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

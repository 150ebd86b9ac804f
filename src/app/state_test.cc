#include "app/state.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "app/channel.h"
#include "app/daemon.h"
#include "app/log_file.h"
#include "app/supervisor.h"

namespace glovebox::app {
namespace {

namespace fs = std::filesystem;

class State : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "glovebox-app-XXXXXX").string();
    ASSERT_TRUE(::mkdtemp(pattern.data()));
    dir_ = pattern;
    auto made = prepare_state(dir_);
    ASSERT_TRUE(made) << made.error().what;
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string dir_;
};

TEST_F(State, KeysAreMadeOnceAndOnlyForTheirOwner) {
  auto key = ensure_key(dir_, "engine");
  ASSERT_TRUE(key) << key.error().what;
  EXPECT_GE(key->reveal().size(), 40u);
  EXPECT_TRUE(ensure_key(dir_, "engine")->equals(key->reveal()));
  EXPECT_FALSE(ensure_key(dir_, "metrics")->equals(key->reveal()));
  struct stat info{};
  ASSERT_EQ(::stat((dir_ + "/keys/engine").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat((dir_ + "/keys").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(State, KeysOfTheBrainLookLikeWhatTheyAre) {
  EXPECT_TRUE(ensure_key(dir_, "brain")->reveal().starts_with("gb-api-"));
  EXPECT_TRUE(ensure_key(dir_, "environment")->reveal().starts_with("gb-env-"));
}

TEST_F(State, OthersMayPassThroughItToWhatIsTheirs) {
  struct stat info{};
  ASSERT_EQ(::stat(dir_.c_str(), &info), 0);  // made by mkdtemp, for its owner alone
  EXPECT_EQ(info.st_mode & 0777, 0701u);
}

TEST_F(State, AKeyOthersCanReadIsRefused) {
  ASSERT_TRUE(ensure_key(dir_, "engine"));
  ::chmod((dir_ + "/keys/engine").c_str(), 0644);
  EXPECT_EQ(ensure_key(dir_, "engine").error().code, Code::forbidden);
}

TEST_F(State, AHalfWrittenKeyIsRefused) {
  std::ofstream(dir_ + "/keys/engine") << "short";
  ::chmod((dir_ + "/keys/engine").c_str(), 0600);
  EXPECT_EQ(read_key(dir_, "engine").error().code, Code::invalid);
}

TEST_F(State, OneHolderAndItIsFoundByItsLock) {
  EXPECT_FALSE(*find_holder(dir_));
  {
    auto lock = InstanceLock::take(dir_);
    ASSERT_TRUE(lock);
    auto second = InstanceLock::take(dir_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::conflict);
    EXPECT_NE(second.error().what.find(str("pid ", ::getpid())), std::string::npos)
        << second.error().what;
    auto holder = find_holder(dir_);
    ASSERT_TRUE(holder && *holder);
    EXPECT_EQ((*holder)->pid, ::getpid());
  }
  EXPECT_FALSE(*find_holder(dir_));
  EXPECT_TRUE(InstanceLock::take(dir_));
}

TEST_F(State, AnEnvironmentHasOneOrchestratorOnAMachine) {
  std::string claims = dir_ + "/claims";
  {
    auto held = EnvironmentLock::take("env_1", claims);
    ASSERT_TRUE(held) << held.error().what;
    EXPECT_TRUE(EnvironmentLock::take("env_2", claims));
    auto second = EnvironmentLock::take("env_1", claims);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::conflict);
    EXPECT_NE(second.error().what.find(str("pid ", ::getpid())), std::string::npos);
  }
  EXPECT_TRUE(EnvironmentLock::take("env_1", claims));
  EXPECT_TRUE(EnvironmentLock::take("../../x", claims));
  EXPECT_TRUE(fs::is_empty(claims));
  EXPECT_FALSE(fs::exists(dir_ + "/x"));
}

TEST_F(State, EndpointsComeBackAsWritten) {
  Endpoints written{.pid = 7,
                    .started_ms = 5,
                    .parts = {{"engine", "http://127.0.0.1:1", 8, 6, 2, "exit code 1"}},
                    .ingress_domain = "boxes.example.org"};
  ASSERT_TRUE(write_endpoints(dir_, written));
  auto read = read_endpoints(dir_);
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(encode(*read, dir_), encode(written, dir_));
  EXPECT_EQ(read->parts[0].problem, "exit code 1");
  EXPECT_EQ(read->ingress_domain, "boxes.example.org");
  EXPECT_FALSE(decode_endpoints("{\"pid\":\"x\"}"));
}

TEST_F(State, LogsAreCutAndWritersGoOn) {
  std::string path = dir_ + "/log/x.log";
  auto log = open_log(path);
  ASSERT_TRUE(log);
  auto write = [&](std::string_view text) {
    ASSERT_EQ(::write(log->get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  };
  write("first\n");
  ASSERT_TRUE(rotate_log(path, 100));
  EXPECT_FALSE(fs::exists(path + ".1"));
  ASSERT_TRUE(rotate_log(path, 3));
  write("second\n");
  EXPECT_EQ(fs::file_size(path + ".1"), 6u);
  EXPECT_EQ(fs::file_size(path), 7u);
  ASSERT_TRUE(rotate_log(path, 3));
  EXPECT_EQ(fs::file_size(path + ".2"), 6u);
}

TEST(Channel, LinesArriveWholeAndTheEndIsSeen) {
  auto ends = Channel::make();
  ASSERT_TRUE(ends);
  ASSERT_TRUE(ends->first.send("key engine a b"));
  ASSERT_TRUE(ends->first.send("two\nlines"));
  EXPECT_EQ(*ends->second.receive(), (std::vector<std::string>{"key engine a b", "two lines"}));
  EXPECT_TRUE(ends->second.receive()->empty());
  ends->first.close();
  EXPECT_EQ(ends->second.receive().error().code, Code::gone);
}

TEST(Channel, APartThatDoesNotReadStopsNobody) {
  auto ends = Channel::make();
  ASSERT_TRUE(ends);
  std::string line(60'000, 'x');
  Result<void> sent = ok;
  for (int i = 0; i < 100 && sent; ++i) sent = ends->first.send(line);
  EXPECT_FALSE(sent);
}

TEST(Keys, OnlyThoseOfThePartAreTaken) {
  Keys keys(part_named("brain"));
  EXPECT_TRUE(keys.take("brain abc"));
  EXPECT_TRUE(keys["brain"].equals("abc"));
  EXPECT_TRUE(keys["metrics"].empty());
  EXPECT_FALSE(keys.take("engine abc"));
  EXPECT_TRUE(keys["engine"].empty());
  EXPECT_FALSE(keys.take("brain"));
}

TEST(Keys, SayWhetherSomethingChanged) {
  Keys keys(part_named("brain"));
  EXPECT_TRUE(keys.take("model one"));
  EXPECT_FALSE(keys.take("model one"));
  EXPECT_TRUE(keys.take("model two"));
  EXPECT_TRUE(keys.take("model "));  // taken away
  EXPECT_TRUE(keys["model"].empty());
  EXPECT_TRUE(keys.take("brain abc"));
  EXPECT_FALSE(keys.take("brain "));  // that one must be there
  EXPECT_TRUE(keys["brain"].equals("abc"));
}

TEST(Greeting, HasAllThatAPartNeeds) {
  Keys keys(part_named("orchestrator"));
  Greeting greeting;
  for (const char* line : {"user 61184 61185", "key engine abc", "url brain http://127.0.0.1:1"})
    EXPECT_TRUE(greeting.take(line, keys)) << line;
  ASSERT_TRUE(greeting.user);
  EXPECT_EQ(greeting.user->uid, 61184u);
  EXPECT_EQ(greeting.user->gid, 61185u);
  EXPECT_EQ(greeting.urls["brain"], "http://127.0.0.1:1");
  EXPECT_TRUE(keys["engine"].equals("abc"));
  EXPECT_FALSE(greeting.take("user root root", keys));
  EXPECT_FALSE(greeting.take("something else", keys));
}

TEST(AllowedHosts, AreThisMachinesNamesOnLoopbackAndAnyElsewhere) {
  EXPECT_TRUE(allowed_hosts({"localhost"}, {}, false).empty());
  EXPECT_EQ(allowed_hosts({"localhost"}, {"gb.example"}, true),
            (std::vector<std::string>{"localhost", "gb.example"}));
  EXPECT_EQ(allowed_hosts({"localhost"}, {"gb.example"}, false),
            (std::vector<std::string>{"gb.example"}));
}

TEST(Supervisor, WaitsLongerEachTimeUntilAPartRunsForAWhile) {
  EXPECT_EQ(next_backoff(0ms, 1s), 200ms);
  EXPECT_EQ(next_backoff(200ms, 1s), 400ms);
  EXPECT_EQ(next_backoff(30s, 1s), 30s);
  EXPECT_EQ(next_backoff(30s, 10min), 200ms);
}

TEST(Supervisor, ClientsAreToldAnAddressTheyCanUse) {
  EXPECT_EQ(client_url("127.0.0.1:0", 4711), "http://127.0.0.1:4711");
  EXPECT_EQ(client_url("0.0.0.0:8410", 8410), "http://127.0.0.1:8410");
  EXPECT_EQ(client_url("[::1]:8410", 8410), "http://[::1]:8410");
  EXPECT_EQ(client_url("unix:/run/x.sock", 0), "unix:/run/x.sock");
}

TEST(Supervisor, ExitsAreDescribed) {
  EXPECT_EQ(describe_exit(1 << 8), "exit code 1");
  EXPECT_EQ(describe_exit(9), "killed by SIGKILL");
}

}  // namespace
}  // namespace glovebox::app

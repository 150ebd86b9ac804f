#include "app/worker_script.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"
#include "net/task.h"

namespace glovebox::app {
namespace {

struct Fixture : ::testing::Test {
  Fixture() { dir = make_temp_dir("glovebox-script"); }
  ~Fixture() override { std::filesystem::remove_all(dir); }

  std::string script(const std::string& body) {
    const std::string path = dir + "/script";
    std::ofstream(path) << "#!/bin/bash\n" << body;
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  Worker worker(WorkerOptions options, cli::Environment env = {}) {
    env.emplace("PATH", "/usr/bin:/bin");
    return {loop,
            std::move(options),
            std::make_shared<const Secret>(std::string("key-1")),
            nullptr,
            nullptr,
            std::move(env),
            ""};
  }
  std::string read(const std::string& name) {
    std::ifstream file(dir + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // Its wait status.
  int run(const Worker& worker, std::function<bool()> wanted, Millis grace) {
    auto process = start_script(worker, work);
    EXPECT_TRUE(process) << process.error().what;
    EXPECT_TRUE(net::run(
        loop, keep(end_of_script(loop, std::move(*process), std::move(wanted), changed, grace))));
    return status;
  }
  Task<void> keep(Task<int> task) {
    CO_TRY(value, co_await std::move(task));
    status = value;
    co_return ok;
  }

  net::Loop loop;
  std::string dir;
  int status = -1;
  std::shared_ptr<net::Event> changed = std::make_shared<net::Event>();
  const std::string json = R"({"id":"work_1","environment_id":"env_1","secret":"c2VjcmV0",)"
                           R"("data":{"type":"session","id":"sesn_1"}})";
  const runner::Work work = std::move(**runner::decode_work(json));
};
using WorkerScript = Fixture;

// False as soon as it has ended, buried or not.
bool runs(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  const std::string text((std::istreambuf_iterator<char>(stat)), {});
  return !text.empty() && !text.contains(") Z ") && !text.contains(") X ");
}

bool holds(const std::vector<std::string>& list, std::string_view entry) {
  return std::ranges::find(list, entry) != list.end();
}

TEST_F(WorkerScript, InheritsAndIsToldTheItem) {
  auto env =
      script_environment(worker({.service_url = "http://x", .base_url_is_set = true},
                                {{"OWN", "1"}, {"ANTHROPIC_WORK_SECRET", "of another item"}}),
                         work);
  for (const char* entry : {"OWN=1", "ANTHROPIC_WORK_ID=work_1", "ANTHROPIC_ENVIRONMENT_ID=env_1",
                            "ANTHROPIC_SESSION_ID=sesn_1", "ANTHROPIC_ENVIRONMENT_KEY=key-1",
                            "ANTHROPIC_WORK_SECRET=c2VjcmV0", "ANTHROPIC_BASE_URL=http://x"})
    EXPECT_TRUE(holds(env, entry)) << entry;
}

TEST_F(WorkerScript, HearsOfABaseUrlOnlyWhereSomebodySetOne) {
  for (const std::string& entry : script_environment(worker({.service_url = "http://x"}), work))
    EXPECT_FALSE(entry.starts_with("ANTHROPIC_BASE_URL=")) << entry;
}

TEST_F(WorkerScript, HasTheItemOnStdinAndNoArguments) {
  const std::string path = script("cat > $0.stdin; echo -n $# > $0.count; exit 3");
  const int status = run(worker({.script = path}), [] { return false; }, 30s);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
  EXPECT_EQ(read("script.stdin"), json);
  EXPECT_EQ(read("script.count"), "0");
}

TEST_F(WorkerScript, IsAskedToGo) {
  const std::string path = script("trap 'exit 5' TERM; while :; do sleep 0.02; done");
  const int status = run(worker({.script = path}), [] { return true; }, 30s);
  // Either it had its trap by then, or it died of the signal.
  EXPECT_TRUE(WIFEXITED(status) ? WEXITSTATUS(status) == 5 : WTERMSIG(status) == SIGTERM);
}

TEST_F(WorkerScript, ThatDoesNotGoIsKilledWithItsGroup) {
  const std::string path = script(
      "trap '' TERM; sleep 1000 & echo $! > $0.child; touch $0.up; while :; do sleep 1000; done");
  auto process = start_script(worker({.script = path}), work);
  ASSERT_TRUE(process);
  while (!std::filesystem::exists(dir + "/script.up")) ::usleep(1000);
  const int child = std::stoi(read("script.child"));
  ASSERT_TRUE(net::run(
      loop, keep(end_of_script(loop, std::move(*process), [] { return true; }, changed, 100ms))));
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  while (runs(child)) ::usleep(1000);  // or the test's time is up
}

TEST_F(WorkerScript, ThatCannotRunIsAnError) {
  EXPECT_FALSE(start_script(worker({.script = dir + "/nothing"}), work));
}

}  // namespace
}  // namespace glovebox::app

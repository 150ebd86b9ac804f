// For tests: an orchestrator as a whole, between a service and an engine that are made for the
// test.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/temp_dir.h"
#include "orchestrator/fake_engine.h"
#include "orchestrator/journal.h"
#include "orchestrator/orchestrator.h"
#include "runner/fake_service.h"

namespace glovebox::orchestrator {

using runner::FakeService;
using runner::tool_use;
using runner::until;

class OrchestratorTest : public ::testing::Test {
 public:
  net::Loop loop;
  FakeService service{loop};
  FakeEngine engine{loop};
  std::string state;
  Options options;
  Keys keys{Secret("the-environment-key"), Secret("engine-key"), {}};
  const std::string token = "the-sessions-token";
  const std::string secret = base64url(str(R"({"sessions_token":")", token, R"("})"));

  std::unique_ptr<Orchestrator> orchestrator;
  std::optional<Result<void>> ended;  // of run()
  std::function<void()> between;      // two lives

  OrchestratorTest() {
    state = make_temp_dir("glovebox-orchestrator");
    options = {.state_dir = state,
               .service_url = service.url(),
               .engine_url = engine.url(),
               .worker_id = "me",
               .max_idle = 5ms,
               .poll_block_ms = 5};
    options.pace = {.first_retry = 1ms,
                    .longest_retry = 2ms,
                    .empty_least = 1ms,
                    .empty_most = 2ms,
                    .first_backoff = 1ms,
                    .longest_backoff = 2ms,
                    .refused = 10'000ms,
                    .stats = 10'000ms,
                    .same_session = 10ms};
    // A turn ends with the answer to its call.
    service.on_post = [this](const std::string& event) {
      for (int i = 0; i < 100; ++i) {
        const std::string session = str("sesn_", i);
        if (event.contains(str("\"call_", i, "\""))) service.say(runner::idle("end_turn"), session);
      }
    };
  }
  ~OrchestratorTest() override { std::filesystem::remove_all(state); }

  // A session with one open call.
  FakeService::Item& want(int i) {
    service.say(tool_use(str("call_", i)), str("sesn_", i));
    return service.queue(str("work_", i), str("sesn_", i), secret);
  }
  FakeService::Item& item(int i) { return service.item(str("work_", i)); }
  std::vector<Claim> journal() {
    auto opened = Journal::open(state + "/journal.db");
    EXPECT_TRUE(opened);
    auto claims = opened->all("env_1");
    EXPECT_TRUE(claims);
    return claims ? *claims : std::vector<Claim>();
  }

  Task<void> go() {
    ended = co_await orchestrator->run();
    co_return ok;
  }
  Result<void> open() {
    ended.reset();
    TRY(opened, Orchestrator::open(loop, options, keys));
    orchestrator = std::move(opened);
    return ok;
  }
  Task<void> both(std::function<Task<void>()> test) {
    CO_TRY_DO(open());
    net::TaskGroup group(loop);
    group.spawn("orchestrator", go());
    auto tested = co_await test();
    engine.blocked = false;
    engine.changed.notify();
    if (!ended) CO_TRY_DO(co_await orchestrator->drain(5s));
    CO_TRY_DO(co_await until([this] { return ended.has_value(); }, "the end of run()"));
    CO_TRY_DO(co_await group.finish(5s));
    CO_TRY_DO(co_await service.close());
    CO_TRY_DO(co_await engine.close());
    co_return tested;
  }
  void with_orchestrator(std::function<Task<void>()> test) {
    auto ran = net::run(loop, both(std::move(test)));
    EXPECT_TRUE(ran) << ran.error().what;
  }
  Task<void> stopped(int i) {
    return until([this, i] { return item(i).state == "stopped" && journal().empty(); },
                 str("the end of item ", i));
  }
};

}  // namespace glovebox::orchestrator

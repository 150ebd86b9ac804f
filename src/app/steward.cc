#include "app/steward.h"

#include "app/orchestrator_run.h"
#include "base/log.h"
#include "net/deadline.h"
#include "net/task.h"
#include "orchestrator/receiver.h"
#include "runner/retry.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

constexpr Millis kHold = 5s;  // a sender waits some seconds for an answer
// In place of every key: they are where it says something, and added there.
constexpr std::string_view kNoKey = "held-by-the-uplink";

// An idle box is put to sleep, with whatever it has begun. The answer of GET /awake keeps it awake
// for as long as it is read.
struct Awake {
  explicit Awake(net::Loop& loop, http::Url to) : uplink(loop, std::move(to)) {}
  http::Client uplink;
  bool wanted = false, held = false;
  net::Event changed;

  void want(bool now) {
    wanted = now;
    changed.notify();
  }
};

Task<void> read_on(std::shared_ptr<http::StreamResponse> answer) {
  for (;;) {
    CO_TRY(piece, co_await answer->body->read());
    if (piece.empty()) co_return ok;
  }
}

Task<void> until_unwanted(Awake* awake) {
  while (awake->wanted) CO_TRY_DO(co_await awake->changed.wait(net::kForever));
  co_return ok;
}

Task<void> keep_awake(Awake* awake) {
  for (int failures = 0;;) {
    while (!awake->wanted) CO_TRY_DO(co_await awake->changed.wait(net::kForever));
    auto opened = co_await awake->uplink.open("GET", "/awake");
    if (!opened && opened.error().code == Code::cancelled) co_return std::move(opened.error());
    if (opened && opened->status == 200) {
      failures = 0;
      awake->held = true;
      awake->changed.notify();
      auto answer = std::make_shared<http::StreamResponse>(std::move(*opened));
      auto ended = co_await net::first_of(read_on(std::move(answer)), until_unwanted(awake));
      awake->held = false;
      if (!ended && ended.error().code == Code::cancelled) co_return ended;
    }
    CO_TRY_DO(co_await net::sleep(runner::doubled(50ms, failures++, 1s)));
  }
}

// A delivery is answered once nothing can put us to sleep any more before its work is asked for.
Task<void> take_hint(orchestrator::Orchestrator* orchestrator, Awake* awake) {
  orchestrator->hint();
  net::Deadline deadline(kHold);
  while (awake->wanted && !awake->held) CO_TRY_DO(co_await awake->changed.wait(deadline.left()));
  co_return ok;
}

Result<std::unique_ptr<orchestrator::Orchestrator>> open_orchestrator(net::Loop* loop,
                                                                      const std::string& to,
                                                                      const Config& config,
                                                                      std::string directory,
                                                                      Awake* awake) {
  TRY_DO(sys::make_dirs(directory, 0700));
  Places places{
      .state_dir = std::move(directory), .service_url = to, .engine_url = to, .uplink_url = to};
  TRY(options, orchestrator_options(config, std::move(places), Secret()));
  options.webhook_box.clear();  // which is this one
  options.pool = {};            // an engine's pool is not a steward's to size
  options.fetches = false;
  options.reclaim_older_than_ms =
      static_cast<int>(config.orchestrator.webhook_reclaim_older_than_ms);
  options.on_busy = [awake](bool busy) { awake->want(busy); };
  const Secret none{std::string(kNoKey)};
  return orchestrator::Orchestrator::open(*loop, std::move(options),
                                          {.environment = none, .engine = none, .uplink = none});
}

Task<void> stop_signal() {
  CO_TRY(number, co_await net::next_signal({SIGTERM, SIGINT}));
  log::info("receiver.stop", {{"signal", number}});
  co_return ok;
}

}  // namespace

Task<void> run_steward(net::Loop* loop, net::Address listen, http::Url to, Config config,
                       std::string directory) {
  const std::string url = str("http://", to.authority());
  Awake awake(*loop, std::move(to));
  CO_TRY(orchestrator, open_orchestrator(loop, url, config, std::move(directory), &awake));
  orchestrator::Receiver receiver(std::nullopt, [&awake, orchestrator = orchestrator.get()] {
    return take_hint(orchestrator, &awake);
  });
  http::Server server(*loop, receiver.routes(), orchestrator::Receiver::server_options());
  CO_TRY(address, server.listen(listen));
  log::info("receiver.ready", {{"address", address.text()}});
  net::TaskGroup tasks(*loop);
  tasks.spawn("awake", keep_awake(&awake));
  auto ran = co_await run_orchestrator(
      loop, orchestrator.get(), stop_signal(), Seconds(config.orchestrator.drain_secs),
      [](const std::string& trouble) { log::info("receiver.trouble", {{"what", trouble}}); });
  (void)co_await server.drain(1s);
  (void)co_await tasks.finish(net::kForever);  // it uses what is on this frame
  co_return ran;
}

}  // namespace glovebox::app

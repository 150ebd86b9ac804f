#include "app/orchestrator_run.h"

#include <optional>

#include "base/log.h"
#include "http/custom_headers.h"
#include "http/text.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

constexpr Millis kLook = 500ms;
constexpr Millis kEndLimit = 5s;  // beyond the drain, which has a limit of its own

struct Run {
  std::optional<Result<void>> result;
  net::Event ended;
};

Task<void> run_to_end(orchestrator::Orchestrator* orchestrator, Run* run) {
  run->result = co_await orchestrator->run();
  run->ended.notify();
  co_return ok;
}

Task<void> await_end(Run* run, Millis limit) {
  if (run->result) co_return ok;
  co_return co_await run->ended.wait(limit);
}

Task<void> watch(orchestrator::Orchestrator* orchestrator,
                 std::function<void(const std::string&)> trouble) {
  std::string told;
  for (;;) {
    CO_TRY_DO(co_await net::sleep(kLook));
    std::string now = orchestrator->status().trouble;
    if (now == told) continue;
    told = now;
    trouble(told);
  }
}

}  // namespace

Result<orchestrator::Options> orchestrator_options(const Config& config, Places places,
                                                   const Secret& headers) {
  const Config::Orchestrator& set = config.orchestrator;
  orchestrator::Options options;
  TRY(parsed, http::parse_custom_headers(http::form_decode(headers.reveal())), "custom headers");
  options.headers = std::move(parsed);
  options.state_dir = std::move(places.state_dir);
  options.service_url = std::move(places.service_url);
  options.engine_url = std::move(places.engine_url);
  options.uplink_url = std::move(places.uplink_url);
  if (set.mode == "webhook-sandbox") {
    options.ask = orchestrator::Options::Ask::on_hint;
    options.ask_anyway = Seconds(set.webhook_drain_seconds);
    options.webhook_box = set.webhook_sandbox_name;
  }
  if (set.inside()) options.runner = orchestrator::Options::Runner::inside;
  options.environment_id = set.environment_id;
  options.worker_id = set.worker_id;
  options.max_sessions = static_cast<int>(set.max_sessions);
  options.max_idle = Seconds(set.max_idle_secs);
  options.poll_block_ms = static_cast<int>(set.poll_block_ms);
  options.reclaim_older_than_ms = static_cast<int>(set.poll_reclaim_older_than_ms);
  options.unpack = std::move(places.unpack);
  options.image = set.image;
  options.also_trust = ingress_certificate(config);
  options.sandbox_timeout_secs = set.sandbox_timeout_seconds;
  options.resume_suspended = set.resume_suspended_sessions;
  options.ceiling = {.images = set.session_images,
                     .snapshots = set.session_snapshots,
                     .volumes = set.session_volumes,
                     .internet = set.session_internet,
                     .hosts = set.session_hosts,
                     .directories = set.session_directories,
                     .also_trust = set.session_ca,
                     .file_bytes = static_cast<std::uint64_t>(set.session_files_mb) << 20,
                     .file_time = Seconds(set.session_files_secs)};
  options.keep = {.boxes_for = Seconds(set.keep_boxes_secs),
                  .boxes = static_cast<std::size_t>(set.keep_boxes),
                  .volumes_for = Seconds(set.keep_outputs_secs)};
  options.pace.clean = Seconds(set.clean_secs);
  options.pool = {.least = set.pool_min,
                  .most = set.pool_max,
                  .image = set.image.empty() ? config.engine.default_image : set.image};
  // What the operator gave all sessions one may name.
  options.ceiling.images.push_back(set.image.empty() ? "host" : set.image);
  return options;
}

Task<void> run_orchestrator(net::Loop* loop, orchestrator::Orchestrator* orchestrator,
                            Task<void> until_stopped, Millis drain_limit,
                            std::function<void(const std::string&)> trouble) {
  Run run;
  net::TaskGroup tasks(*loop);
  tasks.spawn("orchestrator", run_to_end(orchestrator, &run));
  tasks.spawn("orchestrator.watch", watch(orchestrator, std::move(trouble)));
  auto stopped = co_await net::first_of(std::move(until_stopped), await_end(&run, net::kForever));
  if (!run.result) {
    auto drained = co_await orchestrator->drain(drain_limit);
    if (!drained) log::warn("orchestrator.drain", {{"error", drained.error().what}});
    (void)co_await await_end(&run, kEndLimit);
  }
  tasks.cancel();
  // They use what is on this frame. Who does not end is ended from outside, by the supervisor.
  (void)co_await tasks.finish(net::kForever);
  if (run.result && !*run.result) co_return std::move(run.result->error());
  co_return stopped;
}

}  // namespace glovebox::app

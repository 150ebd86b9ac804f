// The orchestrator as a process.
#include "app/commands.h"
#include "app/daemon.h"
#include "app/orchestrator_run.h"
#include "app/program.h"
#include "base/log.h"
#include "base/metrics.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

orchestrator::Keys orchestrator_keys(const Keys& keys) {
  return {.environment = keys["environment"], .engine = keys["engine"], .uplink = keys["uplink"]};
}

// A stream, a lease and an engine's connection for each session.
std::int64_t open_files(const Config& config) {
  return config.orchestrator.max_sessions * 8 + 1000;
}

Task<http::Response> healthz(http::Request) { co_return http::text(200, "ok\n"); }
Task<http::Response> metrics_page(http::Request) { co_return http::text(200, metrics::render()); }

// Only where an operator wants it (orchestrator.listen).
Result<std::unique_ptr<http::Server>> serve_numbers(Daemon* daemon) {
  http::ServerOptions options;
  options.allowed_hosts = {"localhost", "127.0.0.1", "[::1]"};
  options.guard = [daemon](const http::Request& request) -> Result<void> {
    if (request.path == "/healthz") return ok;
    std::string_view given = request.headers.get("Authorization").value_or("");
    if (given.starts_with("Bearer ") && daemon->keys["metrics"].equals(given.substr(7))) return ok;
    return Error{Code::unauthenticated, "this needs the metrics key: Authorization: Bearer KEY"};
  };
  std::vector<http::Route> routes{{"GET", "/healthz", http::Body::none, healthz},
                                  {"GET", "/metrics", http::Body::none, metrics_page}};
  return serve_listener(daemon, std::move(routes), std::move(options),
                        daemon->config.orchestrator.listen, {});
}

Task<void> serve(Daemon* daemon) {
  const Config::Orchestrator& set = daemon->config.orchestrator;
  Places places{.state_dir = daemon->directory(),
                .service_url = set.brain_url.empty() ? daemon->url("brain") : set.brain_url,
                .engine_url = daemon->url("engine"),
                .uplink_url = daemon->url("uplink")};
  places.unpack = offered_unpack_program(daemon->config.state);
  if (places.service_url.empty() || places.engine_url.empty())
    co_return Error{Code::internal, "the supervisor did not say where brain and engine are"};
  if ((set.inside() || set.mode == "webhook-sandbox") && places.uplink_url.empty())
    co_return Error{Code::internal, "the supervisor did not say where the uplink is"};
  CO_TRY(options, orchestrator_options(daemon->config, std::move(places), daemon->keys["headers"]));
  CO_TRY(orchestrator, orchestrator::Orchestrator::open(daemon->loop, std::move(options),
                                                        orchestrator_keys(daemon->keys)));
  std::unique_ptr<http::Server> server;
  if (!set.listen.empty()) {
    CO_TRY(serving, serve_numbers(daemon));
    server = std::move(serving);
  }
  CO_TRY_DO(daemon->ready());
  log::info("orchestrator.ready");

  std::function<void()> rotate = [daemon, orchestrator = orchestrator.get()] {
    orchestrator->set_keys(orchestrator_keys(daemon->keys));
  };
  std::function<void(const std::string&)> trouble = [daemon](const std::string& text) {
    (void)daemon->channel.send("trouble " + text);
  };
  auto until = until_stopped(daemon, std::move(rotate));
  auto ran = co_await run_orchestrator(&daemon->loop, orchestrator.get(), std::move(until),
                                       Seconds(set.drain_secs), std::move(trouble));
  if (server) (void)co_await server->drain(1s);
  co_return ran;
}

Result<int> run(cli::Context& context, cli::Args& args, cli::Output&) {
  TRY_DO(args.done());
  return run_daemon(context, part_named("orchestrator"), serve, open_files);
}

}  // namespace

const cli::Command kOrchestratorDaemon{.name = "orchestrator-daemon",
                                       .usage = "orchestrator-daemon",
                                       .help = "The orchestrator, as 'glovebox up' starts it.",
                                       .run = run,
                                       .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app

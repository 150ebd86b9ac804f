// The uplink as a process.
#include "app/commands.h"
#include "app/daemon.h"
#include "app/orchestrator_run.h"
#include "app/program.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/intake.h"
#include "gateway/uplink.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

// A box has up to 16 connections here, and each of those one to the service; a steward one to the
// engine for each session.
std::int64_t open_files(const Config& config) {
  return config.orchestrator.max_sessions * 44 + 1000;
}

Task<http::Response> healthz(http::Request) { co_return http::text(200, "ok\n"); }
Task<http::Response> metrics_page(http::Request) { co_return http::text(200, metrics::render()); }

Result<void> check_key(const Daemon* daemon, const http::Request& request) {
  if (request.path == "/healthz") return ok;
  const char* name = request.path == "/metrics" ? "metrics" : "uplink";
  std::string_view given = request.headers.get("Authorization").value_or("");
  if (given.starts_with("Bearer ") && daemon->keys[name].equals(given.substr(7))) return ok;
  return Error{Code::unauthenticated,
               str("this needs the ", name, " key: Authorization: Bearer KEY")};
}

// Its keys, which change while it works.
struct StewardsKeys {
  std::shared_ptr<Secret> environment = std::make_shared<Secret>();
  std::shared_ptr<Secret> engine = std::make_shared<Secret>();
  void take(const Daemon& daemon) {
    *environment = daemon.keys["environment"];
    *engine = daemon.keys["engine"];
  }
};

Result<void> appoint_steward(Daemon* daemon, gateway::Uplink& uplink, const StewardsKeys& keys) {
  const Config::Orchestrator& set = daemon->config.orchestrator;
  Places places{.service_url = set.brain_url.empty() ? daemon->url("brain") : set.brain_url,
                .engine_url = daemon->url("engine")};
  if (places.service_url.empty() || places.engine_url.empty() || keys.environment->empty() ||
      keys.engine->empty())
    return Error{Code::internal, "the supervisor did not say where brain and engine are, or how"};
  TRY(options, orchestrator_options(daemon->config, places, daemon->keys["headers"]));
  gateway::StewardOptions steward{.box = set.webhook_sandbox_name,
                                  .port = orchestrator::kWebhookDoorPort,
                                  .name = std::string(orchestrator::kWebhookReceiver),
                                  .service_url = places.service_url,
                                  .engine_url = places.engine_url,
                                  .also_trust = options.also_trust,
                                  .records = daemon->directory() + "/steward.db"};
  steward.may = {.environment = options.environment_id,
                 .headers = options.headers,
                 .images = options.ceiling.images,
                 .snapshots = options.ceiling.snapshots,
                 .volumes = options.ceiling.volumes,
                 .internet = options.ceiling.internet,
                 .volumes_go = options.keep.volumes_for > 0ms,
                 .longest_timeout_secs = options.sandbox_timeout_secs};
  // A stream for each session, and what it asks meanwhile.
  steward.connections = static_cast<std::size_t>(options.max_sessions) * 2 + 32;
  steward.net = Seconds(set.webhook_drain_seconds);
  steward.reclaim_older_than_ms = static_cast<int>(set.webhook_reclaim_older_than_ms);
  return uplink.appoint(std::move(steward), {keys.environment, keys.engine});
}

Task<void> serve(Daemon* daemon) {
  // Without a key anybody on this machine could grant.
  if (daemon->keys["uplink"].empty()) co_return Error{Code::internal, "the supervisor gave no key"};
  gateway::Uplink uplink(daemon->loop);
  StewardsKeys keys;
  keys.take(*daemon);
  if (daemon->config.orchestrator.steward())
    CO_TRY_DO(appoint_steward(daemon, uplink, keys), "the steward");
  auto take = [&uplink](const std::string& line, std::vector<Fd> fds) {
    return uplink.take_listener(line, std::move(fds));
  };
  CO_TRY(intake, gateway::Intake::open(
                     daemon->loop, daemon->directory() + "/" + std::string(kUplinkSocket), take));
  http::ServerOptions options;
  options.allowed_hosts = {"localhost", "127.0.0.1", "[::1]"};
  options.guard = [daemon](const http::Request& request) { return check_key(daemon, request); };
  std::vector<http::Route> routes = uplink.control_routes();
  routes.push_back({"GET", "/healthz", http::Body::none, healthz});
  routes.push_back({"GET", "/metrics", http::Body::none, metrics_page});
  CO_TRY(server, serve_listener(daemon, std::move(routes), std::move(options),
                                daemon->config.uplink.listen, {}));
  CO_TRY_DO(daemon->ready());
  log::info("uplink.ready");

  std::function<void()> rotate = [&keys, daemon] { keys.take(*daemon); };
  auto stopped = co_await until_stopped(daemon, std::move(rotate));
  intake.reset();
  (void)co_await server->drain(1s);
  (void)co_await uplink.close();
  co_return stopped;
}

Result<int> run(cli::Context& context, cli::Args& args, cli::Output&) {
  TRY_DO(args.done());
  return run_daemon(context, part_named("uplink"), serve, open_files);
}

}  // namespace

const cli::Command kUplinkDaemon{.name = "uplink-daemon",
                                 .usage = "uplink-daemon",
                                 .help = "The uplink, as 'glovebox up' starts it.",
                                 .run = run,
                                 .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app

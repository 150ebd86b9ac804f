// The uplink as a process.
#include "app/commands.h"
#include "app/daemon.h"
#include "app/program.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/intake.h"
#include "gateway/uplink.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

// A box has up to 16 connections here, and each of those one to the service.
std::int64_t open_files(const Config& config) {
  return config.orchestrator.max_sessions * 40 + 1000;
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

Task<void> serve(Daemon* daemon) {
  // Without a key anybody on this machine could grant.
  if (daemon->keys["uplink"].empty()) co_return Error{Code::internal, "the supervisor gave no key"};
  gateway::Uplink uplink(daemon->loop);
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

  std::function<void()> rotate = [] {};
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

// The resolver as a process.
#include "app/commands.h"
#include "app/daemon.h"
#include "app/program.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/intake.h"
#include "gateway/resolver.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

// Two sockets of each box, and one for each question that is open.
std::int64_t open_files(const Config& config) { return config.engine.max_sandboxes * 4 + 2000; }

Task<http::Response> healthz(http::Request) { co_return http::text(200, "ok\n"); }
Task<http::Response> metrics_page(http::Request) { co_return http::text(200, metrics::render()); }

Result<void> check_key(const Daemon* daemon, const http::Request& request) {
  if (request.path == "/healthz") return ok;
  std::string_view given = request.headers.get("Authorization").value_or("");
  if (given.starts_with("Bearer ") && daemon->keys["metrics"].equals(given.substr(7))) return ok;
  return Error{Code::unauthenticated, "this needs the metrics key: Authorization: Bearer KEY"};
}

Task<void> serve(Daemon* daemon) {
  gateway::Resolver::Options options;
  for (const auto& server : daemon->config.resolver.servers) {
    CO_TRY(address, net::Address::parse(server), "resolver.servers");
    options.servers.push_back(std::move(address));
  }
  gateway::Resolver resolver(daemon->loop, std::move(options));
  auto take = [&resolver](const std::string& line, std::vector<Fd> fds) {
    return resolver.take(line, std::move(fds));
  };
  CO_TRY(intake,
         gateway::Intake::open(daemon->loop, str(daemon->directory(), "/", kResolverSocket), take));
  std::unique_ptr<http::Server> server;
  if (!daemon->config.resolver.listen.empty()) {
    http::ServerOptions http;
    http.allowed_hosts = {"localhost", "127.0.0.1", "[::1]"};
    http.guard = [daemon](const http::Request& request) { return check_key(daemon, request); };
    std::vector<http::Route> routes{{"GET", "/healthz", http::Body::none, healthz},
                                    {"GET", "/metrics", http::Body::none, metrics_page}};
    CO_TRY(listening, serve_listener(daemon, std::move(routes), std::move(http),
                                     daemon->config.resolver.listen, {}));
    server = std::move(listening);
  }
  CO_TRY_DO(daemon->ready());
  log::info("resolver.ready");
  std::function<void()> rotate = [] {};
  auto stopped = co_await until_stopped(daemon, std::move(rotate));
  intake.reset();
  if (server) (void)co_await server->drain(1s);
  (void)co_await resolver.close();
  co_return stopped;
}

Result<int> run(cli::Context& context, cli::Args& args, cli::Output&) {
  TRY_DO(args.done());
  return run_daemon(context, part_named("resolver"), serve, open_files);
}

}  // namespace

const cli::Command kResolverDaemon{.name = "resolver-daemon",
                                   .usage = "resolver-daemon",
                                   .help = "The resolver, as 'glovebox up' starts it.",
                                   .run = run,
                                   .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app

// The engine as a process.
#include "app/commands.h"
#include "app/daemon.h"
#include "app/program.h"
#include "base/log.h"
#include "engine/api.h"
#include "engine/engine.h"
#include "engine/ingress_link.h"
#include "net/task.h"
#include "sys/mount.h"

namespace glovebox::app {

namespace {

// For requests that run when we are asked to stop; streams and terminals never end by themselves.
// Boxes live on.
constexpr Millis kDrainLimit = 3s;

engine::ApiKeys api_keys(const Keys& keys) {
  return {.key = keys["engine"], .metrics_key = keys["metrics"]};
}

engine::Options engine_options(const Daemon& daemon) {
  const Config::Engine& set = daemon.config.engine;
  return {.state_dir = daemon.directory(),
          .hand_program = set.hand,
          .uplink_socket = daemon.config.state + "/uplink/" + std::string(kUplinkSocket),
          .inside_programs = inside_programs(set.hand),
          .default_image = set.default_image,
          .blanks = static_cast<int>(set.blanks),
          .max_sandboxes = static_cast<int>(set.max_sandboxes),
          .default_timeout_secs = set.default_timeout_secs,
          .max_timeout_secs = set.max_timeout_secs,
          .pause_after_secs = set.pause_after_secs,
          .idle_cpu_percent = set.idle_cpu_percent,
          .default_pids = set.default_pids,
          .default_network = set.default_network,
          .network_range = set.network_range,
          .resolver_socket = str(daemon.config.state, "/resolver/", kResolverSocket),
          .reserve_mb = set.reserve_mb,
          .pool = set.pool};
}

// Every box costs a few descriptors.
std::int64_t open_files(const Config& config) { return config.engine.max_sandboxes * 9 + 1000; }

Task<void> serve(Daemon* daemon) {
  const Config::Engine& set = daemon->config.engine;
  // Without a key the API would ask for none.
  if (daemon->keys["engine"].empty()) co_return Error{Code::internal, "the supervisor gave no key"};
  CO_TRY(engine, co_await engine::Engine::open(daemon->loop, engine_options(*daemon)));
  engine::Api api(daemon->loop, *engine, api_keys(daemon->keys));
  engine::IngressLink ingress(daemon->loop, *engine,
                              str(daemon->config.state, "/ingress/", kIngressSocket));
  auto keep_keys_out = [&ingress, daemon] {
    ingress.keep_out({daemon->keys["engine"], daemon->keys["metrics"]});
  };
  keep_keys_out();
  engine->when_changed([&ingress](const std::string& id) { ingress.changed(id); });
  ingress.start();
  // Old clients name a sandbox by header only where the host is neither localhost nor 127.0.0.1.
  http::ServerOptions http = api.server_options();
  http.allowed_hosts.push_back("sandbox." + daemon->config.ingress.domain);
  CO_TRY(server, serve_listener(daemon, api.routes(), std::move(http), set.listen,
                                set.allowed_hosts, "127.0.0.2"));
  CO_TRY_DO(daemon->ready());
  log::info("engine.ready", {{"boxes", engine->running()}});

  std::function<void()> rotate = [&api, daemon, keep_keys_out] {
    api.set_keys(api_keys(daemon->keys));
    keep_keys_out();
  };
  auto stopped = co_await until_stopped(daemon, std::move(rotate));
  auto drained = co_await server->drain(kDrainLimit);
  if (!drained) log::warn("engine.drain", {{"error", drained.error().what}});
  auto closed = co_await api.close(kDrainLimit);
  if (!closed) log::warn("engine.close", {{"error", closed.error().what}});
  engine->when_changed([](const std::string&) {});
  (void)co_await ingress.close();
  CO_TRY_DO(co_await engine->close(), "close the engine");
  co_return stopped;
}

Task<void> purge(Daemon* daemon) {
  CO_TRY(engine, co_await engine::Engine::open(daemon->loop, engine_options(*daemon)));
  std::size_t boxes = engine->running();
  if (boxes > 0) daemon->note(str("ending ", boxes, boxes == 1 ? " sandbox" : " sandboxes"));
  co_return co_await engine->destroy_all();
}

Result<int> run(cli::Context& context, cli::Args& args, cli::Output&) {
  // The pool is mounted for us, the launcher and boxes only.
  TRY_DO(sys::own_mount_namespace());
  return run_daemon(context, part_named("engine"), args.flag("--purge") ? purge : serve,
                    open_files);
}

}  // namespace

const cli::Command kEngineDaemon{
    .name = "engine-daemon",
    .usage = "engine-daemon [--purge]",
    .help = "The engine, as 'glovebox up' starts it. --purge: take all sandboxes away and end.",
    .run = run,
    .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app

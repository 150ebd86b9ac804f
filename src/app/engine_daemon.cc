#include "app/engine_daemon.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/channel.h"
#include "app/commands.h"
#include "app/parts.h"
#include "base/log.h"
#include "cli/wait.h"
#include "engine/api.h"
#include "engine/engine.h"
#include "http/server.h"
#include "net/loop.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

// For requests that run when we are asked to stop; streams and terminals never end by themselves.
// Boxes live on.
constexpr Millis kDrainLimit = 3s;
constexpr Millis kGreetingLimit = 10s;

struct Daemon {
  net::Loop loop;
  Config config;
  Channel channel;
  Keys keys;
};

engine::ApiKeys api_keys(const Keys& keys) {
  return {.key = keys.engine, .metrics_key = keys.metrics};
}

engine::Options engine_options(const Config& config) {
  const Config::Engine& set = config.engine;
  return {.state_dir = config.state + "/engine",
          .hand_program = set.hand,
          .default_image = set.default_image,
          .blanks = static_cast<int>(set.blanks),
          .max_sandboxes = static_cast<int>(set.max_sandboxes),
          .default_timeout_secs = set.default_timeout_secs,
          .max_timeout_secs = set.max_timeout_secs,
          .default_pids = set.default_pids,
          .reserve_mb = set.reserve_mb};
}

// Every box costs a few descriptors. What cannot be had is said, and lived with.
void raise_open_files(std::int64_t max_sandboxes) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  auto wanted = static_cast<rlim_t>(max_sandboxes * 6 + 1000);
  rlimit raised{std::max(wanted, limit.rlim_cur), std::max(wanted, limit.rlim_max)};
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted)
    log::warn("engine.open_files", {{"limit", limit.rlim_cur}, {"wanted", wanted}});
}

// All the supervisor says before `start`.
Result<void> greet(Daemon& daemon) {
  for (;;) {
    pollfd event{daemon.channel.fd(), POLLIN, 0};
    if (::poll(&event, 1, static_cast<int>(kGreetingLimit.count())) <= 0)
      return Error{Code::timeout, "the supervisor says nothing"};
    TRY(lines, daemon.channel.receive());
    for (const std::string& line : lines) {
      auto [word, rest] = first_word(line);
      if (word == "start") return ok;
      if (word == "key") (void)daemon.keys.take(rest);
    }
  }
}

// Keys that change; ends when the supervisor does.
Task<void> hear_supervisor(Daemon* daemon, engine::Api* api) {
  for (;;) {
    CO_TRY_DO(co_await net::readable(daemon->channel.fd(), net::kForever));
    auto lines = daemon->channel.receive();
    if (!lines) {
      log::warn("engine.stop", {{"why", "the supervisor is gone"}});
      co_return ok;
    }
    for (const std::string& line : *lines) {
      auto [word, rest] = first_word(line);
      if (word != "key" || !daemon->keys.take(rest)) continue;
      api->set_keys(api_keys(daemon->keys));
      log::info("engine.key", {{"name", first_word(rest).first}});
    }
  }
}

Task<void> stop_signal() {
  CO_TRY(number, co_await net::next_signal({SIGTERM, SIGINT}));
  log::info("engine.stop", {{"signal", number}});
  co_return ok;
}

Task<void> serve(Daemon* daemon) {
  // Without a key the API would ask for none.
  if (daemon->keys.engine.empty()) co_return Error{Code::internal, "the supervisor gave no key"};
  CO_TRY(engine, co_await engine::Engine::open(daemon->loop, engine_options(daemon->config)));
  engine::Api api(daemon->loop, *engine, api_keys(daemon->keys));
  CO_TRY(listen, net::Address::parse(daemon->config.engine.listen));
  http::ServerOptions options = api.server_options();
  options.allowed_hosts =
      allowed_hosts(std::move(options.allowed_hosts), daemon->config, listen.is_loopback());
  http::Server server(daemon->loop, api.routes(), std::move(options));
  CO_TRY(address, server.adopt(Fd(kListenerFd)));
  CO_TRY_DO(daemon->channel.send("ready"));
  log::info("engine.ready", {{"address", address.text()}, {"boxes", engine->running()}});

  auto stopped = co_await net::first_of(stop_signal(), hear_supervisor(daemon, &api));
  auto drained = co_await server.drain(kDrainLimit);
  if (!drained) log::warn("engine.drain", {{"error", drained.error().what}});
  auto closed = co_await api.close(kDrainLimit);
  if (!closed) log::warn("engine.close", {{"error", closed.error().what}});
  CO_TRY_DO(co_await engine->close(), "close the engine");
  co_return stopped;
}

Task<void> purge(Daemon* daemon) {
  CO_TRY(engine, co_await engine::Engine::open(daemon->loop, engine_options(daemon->config)));
  std::size_t boxes = engine->running();
  if (boxes > 0)
    (void)daemon->channel.send(str("note ending ", boxes, boxes == 1 ? " box" : " boxes"));
  co_return co_await engine->destroy_all();
}

Result<int> run(cli::Context& context, cli::Args& args, cli::Output&) {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(kChannelFd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
    return cli::usage_error("this is a part of Glovebox; it is started by 'glovebox up'");
  log::set_part("engine");
  TRY(config, config_of_environment(context.env));
  log::set_level(config.log);
  // Before there are threads: signals are read by the loop, and by nobody else.
  sigset_t set;
  sigemptyset(&set);
  for (int signo : {SIGTERM, SIGINT}) sigaddset(&set, signo);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);

  Daemon daemon{.config = std::move(config), .channel = Channel(Fd(kChannelFd))};
  TRY_DO(greet(daemon));
  raise_open_files(daemon.config.engine.max_sandboxes);
  auto ended = net::run(daemon.loop, args.flag("--purge") ? purge(&daemon) : serve(&daemon));
  if (ended) return 0;
  (void)daemon.channel.send("failed " + ended.error().what);
  log::error("engine.failed", {{"error", ended.error().what}});
  return ended.error();
}

}  // namespace

bool Keys::take(std::string_view name_and_value) {
  auto [name, value] = first_word(name_and_value);
  if (value.empty()) return false;
  if (name == "engine") return engine = Secret(value), true;
  if (name == "metrics") return metrics = Secret(value), true;
  return false;
}

std::vector<std::string> allowed_hosts(std::vector<std::string> own, const Config& config,
                                       bool loopback) {
  if (!loopback) return config.engine.allowed_hosts;
  own.insert(own.end(), config.engine.allowed_hosts.begin(), config.engine.allowed_hosts.end());
  return own;
}

const cli::Command kEngineDaemon{
    .name = "engine-daemon",
    .usage = "engine-daemon [--purge]",
    .help = "The engine, as 'glovebox up' starts it. --purge: take all boxes away and end.",
    .run = run,
    .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app

// The ingress as a process.
#include <unistd.h>

#include <ctime>

#include "app/commands.h"
#include "app/daemon.h"
#include "app/ingress_tls.h"
#include "app/program.h"
#include "base/log.h"
#include "gateway/ingress.h"
#include "http/client.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

constexpr Millis kDrainLimit = 5s;

// A client's connection is one, and what it asks for another.
std::int64_t open_files(const Config& config) { return config.ingress.max_connections * 2 + 2000; }

// Lines of the access log are written together, at the latest after a second: a write for each
// request would cost more than the request.
class AccessLog {
 public:
  static constexpr std::size_t kAtOnce = 32 * 1024;
  void add(std::string_view line) {
    const std::time_t now = std::time(nullptr);
    if (now != stamped_) {
      stamped_ = now;
      std::tm utc{};
      ::gmtime_r(&now, &utc);
      char text[40];
      stamp_.assign(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc));
    }
    lines_ +=
        str(R"({"time":")", stamp_,
            R"(","level":"info","event":"ingress.access","part":"ingress",)", line.substr(1), '\n');
    if (lines_.size() >= kAtOnce) flush();
  }
  void flush() {
    [[maybe_unused]] auto written = ::write(STDERR_FILENO, lines_.data(), lines_.size());
    lines_.clear();
  }

 private:
  std::string lines_, stamp_;
  std::time_t stamped_ = 0;
};

Task<void> flush_log(AccessLog* log) {
  for (;;) {
    auto slept = co_await net::sleep(1s);
    log->flush();
    CO_TRY_DO(std::move(slept));
  }
}

Result<net::Address> address_of(const std::string& url) {
  TRY(parsed, http::Url::parse(url));
  return net::Address{parsed.host, parsed.port, parsed.unix_path};
}

gateway::IngressLimits limits_of(const Config::Ingress& set) {
  gateway::IngressLimits limits;
  limits.connections = static_cast<std::size_t>(set.max_connections);
  limits.connections_of_source = static_cast<std::size_t>(set.source_connections);
  limits.requests_per_second = static_cast<double>(set.source_requests_per_second);
  limits.request_burst = 2 * limits.requests_per_second;
  limits.wakes_per_second = static_cast<double>(set.source_wakes_per_minute) / 60;
  limits.wake_burst = static_cast<double>(set.source_wakes_per_minute);
  limits.refusals_per_second = static_cast<double>(set.source_refusals_per_minute) / 60;
  limits.refusal_burst = static_cast<double>(set.source_refusals_per_minute);
  return limits;
}

Task<void> serve(Daemon* daemon) {
  const Config::Ingress& set = daemon->config.ingress;
  gateway::IngressOptions options;
  options.domain = set.domain;
  options.limits = limits_of(set);
  options.link_path = str(daemon->directory(), "/", kIngressSocket);
  options.metrics_key = daemon->keys["metrics"];
  if (auto engine = daemon->url("engine"); !engine.empty()) {
    CO_TRY(address, address_of(engine));
    options.data_plane = address;
    options.parts["sandbox"] = address;
  }
  if (auto brain = daemon->url("brain"); !brain.empty()) {
    CO_TRY(address, address_of(brain));
    options.parts["api"] = address;
  }
  AccessLog access;
  if (set.access_log) options.access_log = [&access](std::string_view line) { access.add(line); };

  CO_TRY(trust, IngressTls::open(daemon));
  IngressTls::hook_into(trust, options);

  CO_TRY(ingress, gateway::Ingress::open(daemon->loop, std::move(options)));
  CO_TRY(address, ingress->adopt(Fd(kListenerFd)));
  log::info("ingress.listen", {{"address", address.text()}, {"domain", set.domain}});
  net::TaskGroup tasks(daemon->loop);
  tasks.spawn("ingress.access_log", flush_log(&access));
  tasks.spawn("ingress.certificates", IngressTls::keep(trust));
  CO_TRY_DO(daemon->ready());
  log::info("ingress.ready");

  std::function<void()> rotate = [&ingress, daemon, trust] {
    ingress->set_metrics_key(daemon->keys["metrics"]);
    trust->keys_changed();
  };
  auto stopped = co_await until_stopped(daemon, std::move(rotate));
  (void)co_await ingress->close(kDrainLimit);
  (void)co_await tasks.finish(1s);
  access.flush();
  co_return stopped;
}

Result<int> run(cli::Context& context, cli::Args& args, cli::Output&) {
  TRY_DO(args.done());
  return run_daemon(context, part_named("ingress"), serve, open_files);
}

}  // namespace

const cli::Command kIngressDaemon{.name = "ingress-daemon",
                                  .usage = "ingress-daemon",
                                  .help = "The ingress, as 'glovebox up' starts it.",
                                  .run = run,
                                  .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app

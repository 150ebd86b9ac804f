// The brain as a process.
#include "app/commands.h"
#include "app/daemon.h"
#include "base/log.h"
#include "base/random.h"
#include "brain/brain.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

// Streams never end by themselves: their clients come back and go on where they were.
constexpr Millis kDrainLimit = 2s;

brain::BrainKeys brain_keys(const Keys& keys) {
  return {.api = keys["brain"], .metrics = keys["metrics"], .environment = keys["environment"]};
}

brain::ModelOptions model_options(const Daemon& daemon) {
  brain::ModelOptions options;
  options.url = daemon.config.brain.model_url;
  options.key = daemon.keys["model"];
  options.scenario = daemon.config.brain.scenario;
  return options;
}

// A word that tells this brain from others; made once.
Result<std::string> instance_of(const std::string& directory) {
  std::string path = directory + "/instance";
  auto kept = sys::read_file(path, 256);
  if (kept && !trim(*kept).empty()) return std::string(trim(*kept));
  std::string made = random_id(8);
  TRY_DO(sys::write_file_atomic(path, made + "\n", 0600));
  return made;
}

// A connection for each stream, and some for those who come and go.
std::int64_t open_files(const Config&) { return 16 * 1024; }

void rotate(Daemon* daemon, brain::Brain* brain) {
  brain->set_keys(brain_keys(daemon->keys));
  auto set = brain->set_model(model_options(*daemon));
  if (!set) log::error("brain.model", {{"error", set.error().what}});
}

Task<void> serve(Daemon* daemon) {
  const Config::Brain& set = daemon->config.brain;
  if (daemon->keys["brain"].empty()) co_return Error{Code::internal, "the supervisor gave no key"};
  CO_TRY(instance, instance_of(daemon->directory()));
  brain::Options options{.state_dir = daemon->directory(),
                         .instance = instance,
                         .model = model_options(*daemon),
                         .default_model = set.default_model,
                         .lease_ttl_secs = set.lease_ttl_secs,
                         .keep_events_days = set.keep_events_days,
                         .max_sessions_running = set.max_sessions_running};
  CO_TRY(brain,
         co_await brain::Brain::open(daemon->loop, std::move(options), brain_keys(daemon->keys)));
  CO_TRY(server, serve_listener(daemon, brain->routes(), brain->server_options(), set.listen,
                                set.allowed_hosts));
  CO_TRY_DO(daemon->ready());
  log::info("brain.ready");

  std::function<void()> changed = [daemon, brain = brain.get()] { rotate(daemon, brain); };
  auto stopped = co_await until_stopped(daemon, std::move(changed));
  auto drained = co_await server->drain(kDrainLimit);
  if (!drained) log::warn("brain.drain", {{"error", drained.error().what}});
  CO_TRY_DO(co_await brain->close(kDrainLimit), "close the brain");
  co_return stopped;
}

Result<int> run(cli::Context& context, cli::Args& args, cli::Output&) {
  TRY_DO(args.done());
  return run_daemon(context, part_named("brain"), serve, open_files);
}

}  // namespace

const cli::Command kBrainDaemon{.name = "brain-daemon",
                                .usage = "brain-daemon",
                                .help = "The brain, as 'glovebox up' starts it.",
                                .run = run,
                                .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app

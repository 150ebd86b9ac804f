// The brain as a process.
#include "app/commands.h"
#include "app/daemon.h"
#include "app/program.h"
#include "base/log.h"
#include "base/random.h"
#include "brain/brain.h"
#include "http/client.h"
#include "net/task.h"
#include "runner/skill_archive.h"
#include "runner/unpack.h"
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

// Of a part that may not run here: then 0, which is no port of anything.
int port_of(const std::string& url) {
  auto parsed = http::Url::parse(url);
  return parsed ? parsed->port : 0;
}

// Made once: a word that tells this brain from others, and the key its database does not have.
Result<std::string> kept(const std::string& path, std::string fresh) {
  auto there = sys::read_file(path, 256);
  if (there || there.error().code != Code::not_found) return there;
  TRY_DO(sys::write_file_atomic(path, fresh, 0600));
  return fresh;
}

// A connection for each stream, and some for those who come and go.
std::int64_t open_files(const Config&) { return 16 * 1024; }

// The parts do not know each other: what reads archives for workers reads uploads for the brain.
Task<std::vector<brain::SkillFile>> read_skill(net::Loop* loop, std::string program,
                                               std::string archive) {
  const runner::ArchiveLimits limits;
  const runner::Packing packing = runner::packing_of(archive);
  CO_TRY(members, co_await runner::unpack(*loop, std::move(program), std::move(archive), limits));
  CO_TRY(plan, runner::plan_skill(std::move(members), packing, limits));
  if (!plan.left_out.empty())
    co_return Error{Code::invalid, str(plan.left_out.front(), " is neither a file nor a folder")};
  std::vector<brain::SkillFile> files;
  for (runner::SkillPlan::File& file : plan.files)
    files.push_back({"skill/" + file.path, std::move(file.content), file.executable});
  co_return files;
}

void rotate(Daemon* daemon, brain::Brain* brain) {
  brain->set_keys(brain_keys(daemon->keys));
  auto set = brain->set_model(model_options(*daemon));
  if (!set) log::error("brain.model", {{"error", set.error().what}});
}

Task<void> serve(Daemon* daemon) {
  const Config::Brain& set = daemon->config.brain;
  if (daemon->keys["brain"].empty()) co_return Error{Code::internal, "the supervisor gave no key"};
  CO_TRY(instance, kept(daemon->directory() + "/instance", random_id(8) + "\n"));
  CO_TRY(seal, kept(daemon->directory() + "/seal.key", random_bytes(32)));
  auto keys = brain_keys(daemon->keys);
  keys.seal = Secret(std::move(seal));
  const std::string reader = offered_unpack_program(daemon->config.state);
  auto unpack = [loop = &daemon->loop, reader](std::string archive) {
    return read_skill(loop, reader, std::move(archive));
  };
  brain::Options options{.unpack = std::move(unpack),
                         .state_dir = daemon->directory(),
                         .instance = std::string(trim(instance)),
                         .model = model_options(*daemon),
                         .default_model = set.default_model,
                         .lease_ttl_secs = set.lease_ttl_secs,
                         .keep_events_days = set.keep_events_days,
                         .max_sessions_running = set.max_sessions_running,
                         .webhooks_allow_private = set.webhooks_allow_private,
                         .ingress_domain = daemon->config.ingress.domain,
                         .ingress_port = port_of(daemon->url("ingress")),
                         .also_trust = ingress_certificate(daemon->config)};
  CO_TRY(brain, co_await brain::Brain::open(daemon->loop, std::move(options), std::move(keys)));
  http::ServerOptions http = brain->server_options();
  http.allowed_hosts.push_back("api." + daemon->config.ingress.domain);
  CO_TRY(server,
         serve_listener(daemon, brain->routes(), std::move(http), set.listen, set.allowed_hosts));
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

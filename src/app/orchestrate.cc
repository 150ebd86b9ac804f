// The orchestrator in the foreground, for a queue and an engine that run already, here or
// elsewhere.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "app/commands.h"
#include "app/orchestrator_run.h"
#include "app/program.h"
#include "app/state.h"
#include "app/users.h"
#include "app/well_known.h"
#include "base/log.h"
#include "cli/brain_client.h"
#include "cli/target.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

struct Plan {
  Config config;
  Places places;
  orchestrator::Keys keys;
  Secret headers;
  std::optional<EnvironmentLock> lock{};
};

Result<void> check_mode(const cli::Args& args) {
  std::string mode = args.option("--mode").value_or("poll");
  if (mode == "poll") return ok;
  if (mode == "webhook" || mode == "webhook-sandbox")
    return Error{Code::unsupported, str("--mode=", mode,
                                        " is not there yet; --mode=poll does the "
                                        "same work, and needs no address of its own")};
  return cli::usage_error(str("--mode: '", mode, "' is not poll"));
}

// The brain of this machine, where no other queue is named.
Result<void> use_own_brain(Plan& plan, const cli::Context& context) {
  std::string& url = plan.config.orchestrator.brain_url;
  if (url.empty()) {
    cli::Context own = context;
    own.url.reset();
    TRY(brain, cli::find_brain(own));
    url = brain.text;
  }
  TRY(key, read_key(plan.config.state, "environment"),
      "the key of the queue (or set ANTHROPIC_ENVIRONMENT_KEY)");
  plan.keys.environment = std::move(key);
  auto endpoints = read_endpoints(plan.config.state);
  auto holder = find_holder(plan.config.state);
  if (endpoints && holder && *holder)
    for (const PartStatus& part : endpoints->parts)
      if (part.name == "orchestrator")
        return Error{
            Code::conflict,
            str("'glovebox up' runs the orchestrator of this queue already, pid ", part.pid,
                "; one is enough (glovebox up --only=engine,brain starts none)")};
  return ok;
}

Result<Plan> planned(const cli::Context& context) {
  TRY(config, load_config(context));
  Plan plan{.config = std::move(config)};
  if (plan.config.orchestrator.runner != "outside")
    return Error{Code::unsupported,
                 "orchestrator.runner = \"inside\" needs the uplink beside the engine: it is for "
                 "'glovebox up'"};
  TRY(given, take_well_known(plan.config, context.env));
  if (given.hosted) {
    plan.keys.environment = given.keys["environment"];
    plan.headers = given.keys["headers"];
  } else {
    TRY_DO(use_own_brain(plan, context));
  }
  cli::Context engine = context;
  TRY(target, cli::find_engine(engine));
  plan.keys.engine = target.key;
  plan.places = {.state_dir = plan.config.state + "/orchestrator",
                 .service_url = plan.config.orchestrator.brain_url,
                 .engine_url = target.text};
  TRY(unpack, unpack_program());
  plan.places.unpack = std::move(unpack);
  return plan;
}

// The journal is the same as under `up`, so it belongs to the same user.
Result<void> settle(Plan& plan) {
  if (::geteuid() != 0) return sys::make_dirs(plan.places.state_dir, 0700);
  TRY_DO(prepare_state(plan.config.state));
  TRY_DO(offer_programs(plan.config.state));
  plan.places.unpack = offered_unpack_program(plan.config.state);
  if (std::string closed = closed_to_others(plan.config.state); !closed.empty())
    return Error{Code::forbidden, str("it runs as a user of its own, who cannot get through ",
                                      closed, ": choose another --state")};
  const std::string& environment = plan.config.orchestrator.environment_id;
  if (!environment.empty()) {
    TRY(held, EnvironmentLock::take(environment, std::string(kClaims)));
    plan.lock = std::move(held);
  }
  TRY(user, user_for("orchestrator", plan.places.state_dir));
  return become(user);
}

Task<void> stop_signal() {
  CO_TRY(number, co_await net::next_signal({SIGTERM, SIGINT}));
  log::info("orchestrator.stop", {{"signal", number}});
  co_return ok;
}

Result<int> orchestrate(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY_DO(args.done());
  TRY_DO(check_mode(args));
  TRY(plan, planned(context));
  forget_secrets_of_environment();
  TRY_DO(settle(plan), "orchestrate");
  log::set_level(plan.config.log);
  log::set_part("orchestrator");
  sigset_t set;
  sigemptyset(&set);
  for (int signo : {SIGTERM, SIGINT}) sigaddset(&set, signo);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  net::Loop loop;
  TRY(options, orchestrator_options(plan.config, plan.places, plan.headers));
  options.when_refused = orchestrator::Options::Refused::stop;
  TRY(orchestrator, orchestrator::Orchestrator::open(loop, std::move(options), plan.keys));
  out.note(str("glovebox: taking work from ", plan.places.service_url, "; boxes at ",
               plan.places.engine_url, "; Ctrl-C ends it"));
  auto trouble = [&out](const std::string& text) {
    out.note(text.empty() ? "glovebox: work comes again" : "glovebox: " + text);
  };
  TRY_DO(net::run(loop, run_orchestrator(&loop, orchestrator.get(), stop_signal(),
                                         Seconds(plan.config.orchestrator.drain_secs), trouble)));
  return 0;
}

}  // namespace

const cli::Command kOrchestrate{
    .name = "orchestrate",
    .usage = "orchestrate [--mode=poll]",
    .help =
        "Take work from a queue and run its tool calls in boxes, in the foreground.\n"
        "\n"
        "With ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_ENVIRONMENT_ID the queue is that "
        "environment's,\n"
        "at ANTHROPIC_BASE_URL or the hosted service; else it is the one of the brain here. Boxes\n"
        "come from the engine here, or from TENSORLAKE_API_URL with TENSORLAKE_API_KEY. 'glovebox "
        "up'\n"
        "runs one of these by itself. Ctrl-C and SIGTERM let running calls finish.",
    .run = orchestrate};

}  // namespace glovebox::app

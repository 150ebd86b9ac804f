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
#include "app/up.h"
#include "app/users.h"
#include "app/webhook_box.h"
#include "app/well_known.h"
#include "base/log.h"
#include "cli/brain_client.h"
#include "cli/target.h"
#include "net/task.h"
#include "orchestrator/receiver.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

enum class Mode { poll, webhook, webhook_sandbox };

struct Plan {
  Mode mode = Mode::poll;
  Config config;
  Places places;
  orchestrator::Keys keys;
  Secret headers{};
  std::vector<Secret> signing_keys{};  // of webhooks
  std::optional<EnvironmentLock> lock{};
};

Result<Mode> mode_of(const cli::Args& args) {
  std::string mode = args.option("--mode").value_or("poll");
  if (mode == "poll") return Mode::poll;
  if (mode == "webhook") return Mode::webhook;
  if (mode == "webhook-sandbox") return Mode::webhook_sandbox;
  return cli::usage_error(
      str("--mode: '", mode, "' is none (modes: poll, webhook, webhook-sandbox)"));
}

// --listen, or the reference integration's PORT, or the setting.
Result<void> plan_receiver(Plan& plan, const cli::Context& context, const cli::Args& args) {
  std::string& listen = plan.config.orchestrator.webhook_listen;
  TRY(address, net::Address::parse(listen));
  if (auto port = context.variable("PORT")) {
    auto number = parse_int<int>(*port);
    if (!number || *number < 0 || *number > 65535)
      return Error{Code::invalid, str("PORT: '", *port, "' is no port")};
    address.port = *number;
    listen = address.text();
  }
  if (auto given = args.option("--listen")) {
    TRY_DO(net::Address::parse(*given), "--listen");
    listen = *given;
  }
  TRY(keys,
      orchestrator::signing_keys(context.variable("ANTHROPIC_WEBHOOK_SIGNING_KEY").value_or("")));
  plan.signing_keys = std::move(keys);
  return ok;
}

// What a queue and boxes need of this machine, where they are to be had here and nothing runs.
Result<void> start_what_is_missing(const Config& config, const cli::Context& context,
                                   cli::Output& out) {
  const bool own_brain = !context.variable("ANTHROPIC_ENVIRONMENT_KEY");
  const bool own_engine = !context.url && !context.variable("TENSORLAKE_API_URL");
  std::vector<std::string> parts;
  if (own_engine) parts = {"engine", "resolver"};
  if (own_brain && config.orchestrator.brain_url.empty()) parts.emplace_back("brain");
  return parts.empty() ? Result<void>(ok) : ensure_parts(context, out, parts);
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

Result<Plan> planned(const cli::Context& context, const cli::Args& args, cli::Output& out) {
  TRY(mode, mode_of(args));
  TRY(config, load_config(context));
  Plan plan{.mode = mode, .config = std::move(config)};
  if (mode == Mode::webhook) TRY_DO(plan_receiver(plan, context, args));
  if (mode != Mode::webhook && args.option("--listen"))
    return cli::usage_error("--listen: only --mode=webhook listens anywhere");
  if (plan.config.orchestrator.inside())
    return Error{Code::unsupported,
                 "orchestrator.runner = \"inside\" needs the uplink beside the engine: it is for "
                 "'glovebox up'"};
  TRY_DO(start_what_is_missing(plan.config, context, out));
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

Result<orchestrator::Options> options_of(const Plan& plan) {
  TRY(options, orchestrator_options(plan.config, plan.places, plan.headers));
  options.when_refused = orchestrator::Options::Refused::stop;
  if (plan.mode != Mode::webhook) return options;
  const Config::Orchestrator& set = plan.config.orchestrator;
  options.ask = orchestrator::Options::Ask::on_hint;
  options.ask_anyway = Seconds(set.webhook_drain_seconds);
  options.reclaim_older_than_ms = static_cast<int>(set.webhook_reclaim_older_than_ms);
  return options;
}

Task<void> hint(orchestrator::Orchestrator* to) {
  to->hint();
  co_return ok;
}

// Where deliveries come in, for as long as it lives.
struct Door {
  orchestrator::Receiver receiver;
  http::Server server;
  net::Address address;

  Door(net::Loop& loop, orchestrator::Orchestrator& to, std::vector<Secret> keys)
      : receiver(std::move(keys), [&to] { return hint(&to); }),
        server(loop, receiver.routes(), orchestrator::Receiver::server_options()) {}
};

Result<std::unique_ptr<Door>> open_door(net::Loop& loop, orchestrator::Orchestrator& to,
                                        const Plan& plan) {
  if (plan.mode != Mode::webhook) return nullptr;
  TRY(wanted, net::Address::parse(plan.config.orchestrator.webhook_listen));
  auto door = std::make_unique<Door>(loop, to, plan.signing_keys);
  TRY(address, door->server.listen(wanted), "take webhooks at ", wanted.text());
  door->address = std::move(address);
  return door;
}

Task<void> run_all(net::Loop* loop, orchestrator::Orchestrator* orchestrator, Door* door,
                   Millis drain_limit, std::function<void(const std::string&)> trouble) {
  auto ran =
      co_await run_orchestrator(loop, orchestrator, stop_signal(), drain_limit, std::move(trouble));
  // Last: a delivery that is answered while running calls end is one the sender need not repeat.
  if (door) (void)co_await door->server.drain(1s);
  co_return ran;
}

void be_quiet_about_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signo : {SIGTERM, SIGINT}) sigaddset(&set, signo);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

Result<int> orchestrate(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY(mode, mode_of(args));
  if (mode == Mode::webhook_sandbox) return webhook_box(context, args, out);
  TRY_DO(args.done());
  TRY(plan, planned(context, args, out));
  forget_secrets_of_environment();
  TRY_DO(settle(plan), "orchestrate");
  log::set_level(plan.config.log);
  log::set_part("orchestrator");
  be_quiet_about_signals();

  net::Loop loop;
  TRY(options, options_of(plan));
  TRY(orchestrator, orchestrator::Orchestrator::open(loop, std::move(options), plan.keys));
  TRY(door, open_door(loop, *orchestrator, plan));
  out.note(str("glovebox: taking work from ", plan.places.service_url, "; sandboxes at ",
               plan.places.engine_url, "; Ctrl-C ends it"));
  if (door)
    out.note(str("glovebox: webhooks are taken at http://", door->address.text(),
                 "/ ; register the HTTPS address that leads there for session.status_run_started"));
  auto trouble = [&out](const std::string& text) {
    out.note(text.empty() ? "glovebox: work comes again" : "glovebox: " + text);
  };
  TRY_DO(net::run(loop, run_all(&loop, orchestrator.get(), door.get(),
                                Seconds(plan.config.orchestrator.drain_secs), trouble)));
  return 0;
}

}  // namespace

const cli::Command kOrchestrate{
    .name = "orchestrate",
    .usage = "orchestrate [--mode=MODE] [--listen=ADDRESS] [ACTION]",
    .help =
        "Take work from a queue and run its tool calls in sandboxes, in the foreground.\n"
        "\n"
        "With ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_ENVIRONMENT_ID the queue is that "
        "environment's,\n"
        "at ANTHROPIC_BASE_URL or the hosted service; else it is the one of the brain here. "
        "Sandboxes\n"
        "come from the engine here, or from TENSORLAKE_API_URL with TENSORLAKE_API_KEY. 'glovebox "
        "up'\n"
        "runs one of these by itself. Ctrl-C and SIGTERM let running calls finish.\n"
        "\n"
        "--mode=poll (the default) asks the queue all the time and listens nowhere. "
        "--mode=webhook\n"
        "asks it when a webhook says so, and every 30 seconds in case one was lost: it listens at\n"
        "--listen (orchestrator.webhook_listen, 127.0.0.1:5051), takes deliveries signed with\n"
        "ANTHROPIC_WEBHOOK_SIGNING_KEY at POST /, and answers GET /healthz.\n"
        "\n"
        "--mode=webhook-sandbox puts the receiver into a sandbox that sleeps until a delivery "
        "wakes it,\n"
        "and returns: what is missing is made, what is there is brought up to date. The address "
        "is\n"
        "said first. Its ports take deliveries signed with ANTHROPIC_WEBHOOK_SIGNING_KEY alone; "
        "the\n"
        "brain here is told of it by itself. The work is taken in there, too, without a key, and "
        "run by\n"
        "workers in the sessions' sandboxes; with orchestrator.runner = \"outside\" an "
        "orchestrator "
        "here\n"
        "takes it when it is told to. ACTION is status, logs or rm.",
    .run = orchestrate};

}  // namespace glovebox::app

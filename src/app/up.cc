#include "app/up.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <thread>

#include "app/commands.h"
#include "app/log_file.h"
#include "app/program.h"
#include "app/supervisor.h"
#include "app/well_known.h"
#include "base/log.h"

namespace glovebox::app {

namespace json = boost::json;

namespace {

constexpr Millis kUpLimit = 180s;  // the supervisor gives up before
constexpr Millis kGreetingLimit = 10s;

// What is to be started.
struct Start {
  Config config;
  std::vector<const PartSpec*> parts;
  std::map<std::string, Secret, std::less<>> keys;  // given by a person, not in files
};

void print(cli::Output& out, const std::string& endpoints_json) {
  json::object object = json::parse(endpoints_json).as_object();
  if (out.json()) return out.object(object);
  json::object shown{{"state", object["state"]}, {"pid", object["pid"]}};
  for (const auto& part : object["parts"].as_object()) {
    const json::value& url = part.value().as_object().at("url");
    shown[part.key()] = url.as_string().empty() ? json::value("running") : url;
  }
  // A sandbox takes the work, and that is not made by starting.
  if (shown.contains("uplink") && !shown.contains("orchestrator"))
    shown["work"] = "taken in a sandbox: glovebox orchestrate --mode=webhook-sandbox";
  std::string_view state = object["state"].as_string();
  std::string option = state == Config().state ? "" : str(" --state=", state);
  shown["clients"] = str("eval \"$(glovebox env", option, ")\"");
  out.object(shown);
}

Result<Start> planned(const cli::Context& context, const std::vector<std::string>& only,
                      std::optional<std::string> listen) {
  TRY(config, load_config(context));
  if (listen) config.engine.listen = *listen;
  TRY(given, take_well_known(config, context.env));
  auto names = only;
  if (names.empty() && given.hosted) names = {"engine", "resolver", "ingress", "orchestrator"};
  // It serves boxes that have something to say: to their session, or that work may have come.
  const bool uplink = config.orchestrator.inside() || config.orchestrator.mode == "webhook-sandbox";
  const bool steward = config.orchestrator.steward();
  if (!names.empty() && only.empty() && uplink) names.push_back("uplink");
  TRY(parts, pick_parts(names));
  if (names.empty() && !uplink)
    std::erase_if(parts, [](const PartSpec* part) { return part->name == "uplink"; });
  // The box that takes the webhooks is it.
  if (only.empty() && steward)
    std::erase_if(parts, [](const PartSpec* part) { return part->name == "orchestrator"; });
  auto has = [&](std::string_view name) {
    return std::ranges::any_of(parts, [&](const PartSpec* part) { return part->name == name; });
  };
  if (given.hosted && has("brain"))
    return cli::usage_error(
        "ANTHROPIC_ENVIRONMENT_KEY is set: work comes from the queue of another service, and the "
        "brain here would not be asked; unset it to start the brain");
  if (has("orchestrator") && steward)
    return cli::usage_error(
        "orchestrator.mode = \"webhook-sandbox\" takes the work in its sandbox, unless "
        "orchestrator.runner = \"outside\": there is no orchestrator to start");
  if (has("uplink") && steward && (!has("engine") || !has("ingress")))
    return cli::usage_error(
        "orchestrator.mode = \"webhook-sandbox\" needs engine, ingress and uplink: start them all");
  if (has("uplink") && steward && !has("brain") && config.orchestrator.brain_url.empty())
    return cli::usage_error(
        "orchestrator.mode = \"webhook-sandbox\" needs a brain: start that too, or say where one "
        "is "
        "(orchestrator.brain_url, ANTHROPIC_BASE_URL with ANTHROPIC_ENVIRONMENT_KEY)");
  if (has("orchestrator") && !has("engine"))
    return cli::usage_error(
        "the orchestrator needs the engine beside it; 'glovebox orchestrate' works with one that "
        "runs already, or elsewhere");
  if (has("orchestrator") && !has("brain") && config.orchestrator.brain_url.empty())
    return cli::usage_error(
        "the orchestrator needs a brain: start that too, or say where one is "
        "(orchestrator.brain_url, ANTHROPIC_BASE_URL with ANTHROPIC_ENVIRONMENT_KEY)");
  if (has("orchestrator") && uplink && !has("uplink"))
    return cli::usage_error(
        "orchestrator.runner = \"inside\" and orchestrator.mode = \"webhook-sandbox\" need the "
        "uplink: start that too");
  if (::geteuid() != 0)
    return Error{Code::forbidden,
                 "the engine makes namespaces, mounts and control groups: start it as root (sudo "
                 "glovebox up; 'glovebox doctor' says what else it needs)"};
  TRY(hand, hand_program(config));
  config.engine.hand = std::move(hand);
  return Start{std::move(config), std::move(parts), std::move(given.keys)};
}

std::vector<std::string> named_parts(const cli::Args& args) {
  std::vector<std::string> names;
  for (const std::string& given : args.options("--only"))
    for (const std::string& name : split(given, ',')) names.push_back(name);
  return names;
}

Result<int> run_here(Start start, const cli::Context& context, cli::Output& out) {
  log::set_level(start.config.log);
  TRY(program, own_program());
  std::string state = start.config.state;
  SupervisorOptions options{.config = std::move(start.config),
                            .parts = std::move(start.parts),
                            .program = program,
                            .environment = context.env,
                            .keys = std::move(start.keys)};
  options.note = [&](const std::string& text) { out.note("glovebox: " + text); };
  options.ready = [&](const Endpoints& endpoints) { print(out, encode(endpoints, state)); };
  TRY(supervisor, Supervisor::make(std::move(options)));
  TRY_DO(supervisor->run());
  return 0;
}

// What `supervise` reports until it is ready, or has failed.
Result<std::string> hear_ready(Channel& channel, cli::Output& out) {
  auto until = std::chrono::steady_clock::now() + kUpLimit;
  for (;;) {
    auto left = std::chrono::ceil<Millis>(until - std::chrono::steady_clock::now());
    if (left <= 0ms) return Error{Code::timeout, "the supervisor does not become ready"};
    pollfd event{channel.fd(), POLLIN, 0};
    if (::poll(&event, 1, static_cast<int>(left.count())) <= 0) continue;
    auto lines = channel.receive();
    if (!lines) return Error{Code::internal, "the supervisor ended without a word"};
    for (const std::string& line : *lines) {
      auto [word, rest] = first_word(line);
      if (word == "ready") return rest;
      if (word == "failed") return Error{Code::unavailable, rest};
      out.note("glovebox: " + rest);
    }
  }
}

// Starts a supervisor that outlives us; its endpoints, once it serves.
Result<std::string> run_detached(const Start& start, const cli::Context& context,
                                 cli::Output& out) {
  TRY_DO(prepare_state(start.config.state));
  std::string log_path = start.config.state + "/log/supervisor.log";
  TRY(log, open_log(log_path));
  TRY(ends, Channel::make());
  TRY(program, own_program());
  sys::SpawnSpec child{.program = program, .args = {"glovebox", "supervise"}};
  for (const PartSpec* part : start.parts) child.args.push_back(part->name);
  PartSpec all{.name = ""};
  child.env = part_environment(start.config, all, context.env);
  child.fds = {{log.get(), STDERR_FILENO}, {ends.second.fd(), kChannelFd}};
  child.new_session = true;
  // Not in its environment, which others can read.
  for (const auto& [name, key] : start.keys)
    TRY_DO(ends.first.send(str("key ", name, ' ', key.reveal())));
  TRY_DO(ends.first.send("start"));
  TRY(process, sys::spawn(child), "start the supervisor");
  ends.second.close();
  auto ready = hear_ready(ends.first, out);
  if (!ready) {
    if (ready.error().code != Code::timeout) (void)process.reap();  // it said why, and ends
    return std::move(ready.error())
        .with(ready.error().code == Code::unavailable ? "" : "see " + log_path);
  }
  process.detach();
  return ready;
}

Result<int> up(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY_DO(args.done());
  TRY(start, planned(context, named_parts(args), args.option("--listen")));
  forget_secrets_of_environment();
  if (!args.flag("--detach")) return run_here(std::move(start), context, out);
  TRY(endpoints, run_detached(start, context, out));
  print(out, endpoints);
  return 0;
}

// The keys that a person gave `up --detach`, until `start`.
Result<std::map<std::string, Secret, std::less<>>> given_keys(Channel& channel) {
  std::map<std::string, Secret, std::less<>> keys;
  for (;;) {
    pollfd event{channel.fd(), POLLIN, 0};
    if (::poll(&event, 1, static_cast<int>(kGreetingLimit.count())) <= 0)
      return Error{Code::timeout, "'glovebox up' says nothing"};
    TRY(lines, channel.receive());
    for (const std::string& line : lines) {
      auto [word, rest] = first_word(line);
      auto [name, value] = first_word(rest);
      if (word == "start") return keys;
      if (word == "key") keys[name] = Secret(value);
    }
  }
}

// The far side of --detach: everything it needs to know is in its environment, its words go through
// the channel.
Result<int> supervise(cli::Context& context, cli::Args& args, cli::Output&) {
  auto channel = std::make_shared<Channel>(Fd(kChannelFd));
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(kChannelFd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
    return cli::usage_error("this is how 'glovebox up --detach' goes on; it is not for people");
  auto failed = [&](Error error) -> Result<int> {
    (void)channel->send("failed " + error.what);
    log::error("supervisor.failed", {{"error", error.what}});
    return error;
  };
  auto config = config_of_environment(context.env);
  if (!config) return failed(std::move(config.error()));
  log::set_level(config->log);
  log::set_part("supervisor");
  auto parts = pick_parts(args.remaining());
  if (!parts) return failed(std::move(parts.error()));
  auto keys = given_keys(*channel);
  if (!keys) return failed(std::move(keys.error()));
  TRY(program, own_program());
  std::string state = config->state;
  SupervisorOptions options{.config = std::move(*config),
                            .parts = std::move(*parts),
                            .program = program,
                            .environment = context.env,
                            .keys = std::move(*keys),
                            .log_to_files = true};
  options.note = [channel](const std::string& text) {
    log::info("supervisor.note", {{"text", text}});
    if (*channel) (void)channel->send("note " + text);
  };
  options.ready = [channel, state](const Endpoints& endpoints) {
    (void)channel->send("ready " + encode(endpoints, state));
    channel->close();
  };
  auto supervisor = Supervisor::make(std::move(options));
  if (!supervisor) return failed(std::move(supervisor.error()));
  auto ran = (*supervisor)->run();
  if (!ran) return *channel ? failed(std::move(ran.error())) : Result<int>(std::move(ran.error()));
  return 0;
}

// Whether the supervisor has said where its parts listen: connections wait until they serve. What
// one wrote that is dead counts for nothing.
bool published(const std::string& state, std::optional<pid_t> supervisor) {
  auto endpoints = read_endpoints(state);
  return endpoints && (!supervisor || endpoints->pid == *supervisor);
}

// A program that was built anew since it was started has lost its name.
bool is_replaced(pid_t pid) {
  char path[4096];
  ssize_t n = ::readlink(str("/proc/", pid, "/exe").c_str(), path, sizeof path);
  return n > 0 && std::string_view(path, static_cast<std::size_t>(n)).ends_with(" (deleted)");
}

}  // namespace

Result<void> ensure_started(const cli::Context& context, cli::Output& out) {
  return ensure_parts(context, out, {});
}

Result<void> ensure_parts(const cli::Context& context, cli::Output& out,
                          const std::vector<std::string>& only) {
  TRY(config, load_config(context));
  auto holder = find_holder(config.state);
  // Who may not look at the lock can still be a client of what runs.
  if (!holder && holder.error().code == Code::forbidden && published(config.state, std::nullopt))
    return ok;
  if (holder && *holder && is_replaced((*holder)->pid))
    out.note("glovebox: what runs is an older build; to change that: glovebox down");
  if (holder && *holder) {  // it may have begun only just now
    auto until = std::chrono::steady_clock::now() + kUpLimit;
    while (!published(config.state, (*holder)->pid)) {
      if (std::chrono::steady_clock::now() > until)
        return Error{Code::timeout, "Glovebox is starting and does not become ready"};
      std::this_thread::sleep_for(20ms);
    }
    return ok;
  }
  if (::geteuid() != 0)
    return Error{Code::forbidden,
                 str("nothing runs in ", config.state,
                     " and only root can start it (sandboxes are made of namespaces, mounts and "
                     "control groups): sudo glovebox up --detach")};
  TRY(start, planned(context, only, std::nullopt));
  out.note(str("glovebox: starting (state in ", config.state, "; stop it with: glovebox down)"));
  auto started = run_detached(start, context, out);
  // Somebody else was quicker.
  if (!started && started.error().what.find("already running") != std::string::npos)
    return ensure_parts(context, out, only);
  if (!started) return std::move(started.error());
  return ok;
}

const cli::Command kUp{
    .name = "up",
    .usage = "up [--detach] [--only=PART]... [--listen=ADDRESS]",
    .help =
        "Start Glovebox and say where it listens.\n"
        "\n"
        "Stays in the foreground, logs on stderr, until Ctrl-C; with --detach it goes on in the\n"
        "background and logs to STATE/log. --only starts some parts and not all (engine,\n"
        "resolver, brain, ingress, uplink, orchestrator; the uplink is only needed, and started,\n"
        "with orchestrator.runner = \"inside\" or orchestrator.mode = \"webhook-sandbox\").\n"
        "--listen is where the engine listens (engine.listen, GLOVEBOX_ENGINE_LISTEN); port 0\n"
        "takes a free one. Stopping leaves sandboxes running: the next 'up' finds them again.\n"
        "\n"
        "'glovebox settings' lists what can be set, in a file or by variables.\n"
        "\n"
        "ANTHROPIC_API_KEY is the model's key (or the file STATE/keys/model) and "
        "ANTHROPIC_BASE_URL\n"
        "the model's address; without a key the rehearsal model answers, which is a set of rules.\n"
        "With ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_ENVIRONMENT_ID there is no brain here: work\n"
        "comes from that environment's queue, at ANTHROPIC_BASE_URL or the hosted service.",
    .run = up};

const cli::Command kSupervise{.name = "supervise",
                              .usage = "supervise [PART]...",
                              .help = "How 'up --detach' goes on in the background.",
                              .run = supervise,
                              .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app

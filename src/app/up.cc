#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "app/commands.h"
#include "app/log_file.h"
#include "app/program.h"
#include "app/supervisor.h"
#include "base/log.h"

namespace glovebox::app {

namespace json = boost::json;

namespace {

constexpr Millis kUpLimit = 180s;  // the supervisor gives up before

void print(cli::Output& out, const std::string& endpoints_json) {
  json::object object = json::parse(endpoints_json).as_object();
  if (out.json()) return out.object(object);
  json::object shown{{"state", object["state"]}, {"pid", object["pid"]}};
  for (const auto& part : object["parts"].as_object())
    shown[part.key()] = part.value().as_object().at("url");
  std::string_view state = object["state"].as_string();
  shown["clients"] =
      str("eval \"$(glovebox env", state == Config().state ? "" : str(" --state=", state), ")\"");
  out.object(shown);
}

Result<Config> configured(cli::Context& context, const cli::Args& args) {
  TRY(config, load_config(context));
  if (auto listen = args.option("--listen")) config.engine.listen = *listen;
  if (::geteuid() != 0)
    return Error{Code::forbidden,
                 "the engine makes namespaces, mounts and control groups: start it as root (sudo "
                 "glovebox up; 'glovebox doctor' says what else it needs)"};
  TRY(hand, hand_program(config));
  config.engine.hand = std::move(hand);
  return config;
}

std::vector<std::string> named_parts(const cli::Args& args) {
  std::vector<std::string> names;
  for (const std::string& given : args.options("--only"))
    for (const std::string& name : split(given, ',')) names.push_back(name);
  return names;
}

Result<int> run_here(Config config, std::vector<const PartSpec*> parts, const cli::Context& context,
                     cli::Output& out) {
  log::set_level(config.log);
  TRY(program, own_program());
  SupervisorOptions options{
      .config = config, .parts = std::move(parts), .program = program, .environment = context.env};
  options.note = [&](const std::string& text) { out.note("glovebox: " + text); };
  options.ready = [&](const Endpoints& endpoints) { print(out, encode(endpoints, config.state)); };
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

Result<int> run_detached(const Config& config, const std::vector<const PartSpec*>& parts,
                         const cli::Context& context, cli::Output& out) {
  TRY_DO(prepare_state(config.state));
  std::string log_path = config.state + "/log/supervisor.log";
  TRY(log, open_log(log_path));
  TRY(ends, Channel::make());
  TRY(program, own_program());
  sys::SpawnSpec child{.program = program, .args = {"glovebox", "supervise"}};
  for (const PartSpec* part : parts) child.args.push_back(part->name);
  PartSpec all{.name = ""};
  child.env = part_environment(config, all, context.env);
  child.fds = {{log.get(), STDERR_FILENO}, {ends.second.fd(), kChannelFd}};
  child.new_session = true;
  TRY(process, sys::spawn(child), "start the supervisor");
  ends.second.close();
  auto ready = hear_ready(ends.first, out);
  if (!ready) {
    if (ready.error().code != Code::timeout) (void)process.reap();  // it said why, and ends
    return std::move(ready.error())
        .with(ready.error().code == Code::unavailable ? "" : "see " + log_path);
  }
  process.detach();
  print(out, *ready);
  return 0;
}

Result<int> up(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY_DO(args.done());
  TRY(parts, pick_parts(named_parts(args)));
  TRY(config, configured(context, args));
  if (args.flag("--detach")) return run_detached(config, parts, context, out);
  return run_here(config, parts, context, out);
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
  TRY(program, own_program());
  std::string state = config->state;
  SupervisorOptions options{.config = std::move(*config),
                            .parts = std::move(*parts),
                            .program = program,
                            .environment = context.env,
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

}  // namespace

const cli::Command kUp{.name = "up",
                       .usage = "up [--detach] [--only=PART]... [--listen=ADDRESS]",
                       .help =
                           "Start Glovebox and say where it listens.\n"
                           "\n"
                           "Stays in the foreground, logs on stderr, until Ctrl-C; with --detach "
                           "it goes on in the background and\n"
                           "logs to STATE/log. --only starts some parts and not all (parts: "
                           "engine). --listen is where the engine\n"
                           "listens (engine.listen, GLOVEBOX_ENGINE_LISTEN); port 0 takes a free "
                           "one. Stopping leaves boxes\n"
                           "running: the next 'up' finds them again.",
                       .run = up};

const cli::Command kSupervise{.name = "supervise",
                              .usage = "supervise [PART]...",
                              .help = "How 'up --detach' goes on in the background.",
                              .run = supervise,
                              .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app

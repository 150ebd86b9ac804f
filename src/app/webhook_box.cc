#include "app/webhook_box.h"

#include <boost/json.hpp>
#include <thread>

#include "app/config.h"
#include "app/state.h"
#include "app/up.h"
#include "app/well_known.h"
#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/wait.h"
#include "net/task.h"
#include "orchestrator/orchestrator.h"
#include "orchestrator/receiver.h"
#include "orchestrator/uplink_api.h"

namespace glovebox::app {

namespace json = boost::json;

namespace {

constexpr std::string_view kHooks = "/v1/organizations/webhooks";
constexpr std::string_view kEvent = "session.status_run_started";
constexpr std::string_view kProgram = "/dev/glovebox/glovebox-worker";
constexpr std::int64_t kMemoryMb = 256;
constexpr Millis kStableLimit = 60s, kHealthyLimit = 60s, kHeardLimit = 30s, kOpenLimit = 20s;

struct Place {
  Config config;
  std::string name;  // of the box
  std::string url;   // where webhooks go
  bool own_brain = false;
  std::unique_ptr<cli::EngineClient> engine;
  std::unique_ptr<net::Loop> loop = std::make_unique<net::Loop>();
  std::unique_ptr<orchestrator::UplinkApi> uplink{};
};

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found && found->is_string() ? std::string(std::string_view(found->get_string())) : "";
}

Result<std::string> part_url(const std::string& state, std::string_view name) {
  auto endpoints = read_endpoints(state);
  if (!endpoints)
    return Error{Code::unavailable, str("nothing runs in ", state,
                                        "; start it with: glovebox orchestrate "
                                        "--mode=webhook-sandbox, or glovebox up --detach")};
  for (const PartStatus& part : endpoints->parts)
    if (part.name == name && !part.url.empty()) return part.url;
  return Error{Code::unavailable, str("the ", name,
                                      " does not run: glovebox down, and then glovebox orchestrate "
                                      "--mode=webhook-sandbox")};
}

// By name, so it is known before there is a box, and stays when the box is made anew.
Result<std::string> address_of(const Config& config) {
  TRY(ingress, part_url(config.state, "ingress"));
  TRY(url, http::Url::parse(ingress));
  const std::string port = url.port == 443 ? "" : str(':', url.port);
  return str("https://", orchestrator::kWebhookPort, '-', config.orchestrator.webhook_sandbox_name,
             '.', config.ingress.domain, port, '/');
}

Result<Place> find_place(const cli::Context& context) {
  TRY(config, load_config(context));
  Place place{.config = std::move(config)};
  place.name = place.config.orchestrator.webhook_sandbox_name;
  place.own_brain = !context.variable("ANTHROPIC_ENVIRONMENT_KEY");
  // Whose queue it is, which a steward is told; the key stays here.
  if (!place.own_brain) TRY_DO(take_well_known(place.config, context.env));
  TRY(url, address_of(place.config));
  place.url = std::move(url);
  TRY(engine, cli::EngineClient::open(context));
  place.engine = std::move(engine);
  return place;
}

Result<void> open_uplink(Place& place) {
  TRY(text, part_url(place.config.state, "uplink"));
  TRY(url, http::Url::parse(text));
  TRY(key, read_key(place.config.state, "uplink"));
  place.uplink = std::make_unique<orchestrator::UplinkApi>(
      *place.loop, std::move(url), std::make_shared<const Secret>(std::move(key)));
  return ok;
}

// Asks `look` until it says true.
template <class Look>
Result<void> wait_until(std::string what, Millis limit, Look look) {
  const auto until = std::chrono::steady_clock::now() + limit;
  for (;;) {
    TRY(there, look());
    if (there) return ok;
    if (std::chrono::steady_clock::now() > until)
      return Error{Code::timeout, str(what, ": not within ", limit.count() / 1000, " s")};
    std::this_thread::sleep_for(100ms);
  }
}

std::string sandbox_path(const Place& place, std::string_view rest) {
  return str("/sandboxes/", place.name, rest);
}

// --- what signs ---

// Those of a hosted service are shown to a person, once; our own brain is asked.
Result<std::vector<std::string>> given_secrets(const cli::Context& context) {
  std::vector<std::string> secrets;
  const std::string text = context.variable("ANTHROPIC_WEBHOOK_SIGNING_KEY").value_or("");
  TRY_DO(orchestrator::signing_keys(text));
  for (const std::string& word : split(text, ' '))
    if (!trim(word).empty()) secrets.emplace_back(trim(word));
  return secrets;
}

Result<std::string> find_hook(cli::BrainClient& brain, const std::string& url) {
  TRY(hooks, brain.list(str(kHooks, "?limit=100")), "webhooks of the brain");
  for (const json::value& hook : hooks)
    if (text_of(hook.as_object(), "url") == url) return text_of(hook.as_object(), "id");
  return std::string();
}

Result<std::vector<std::string>> own_secrets(const Place& place, const cli::Context& context) {
  cli::Context own = context;
  own.url.reset();
  TRY(brain, cli::BrainClient::open(own));
  TRY(id, find_hook(*brain, place.url));
  json::object body{{"url", place.url}, {"enabled_events", json::array{kEvent}}};
  // Its secret was never kept: an endpoint that is there gets another one.
  auto made = id.empty() ? brain->post(std::string(kHooks), json::serialize(body))
                         : brain->post(str(kHooks, '/', id, "/regenerate_signing_secret"));
  if (!made) return std::move(made.error()).with("register the webhook");
  if (!id.empty())
    TRY_DO(brain->post(str(kHooks, '/', id), R"({"state":"enabled"})"), "enable the webhook");
  return std::vector{text_of(*made, "signing_secret")};
}

// --- the box ---

Result<void> make_box(Place& place) {
  const Config::Orchestrator& set = place.config.orchestrator;
  auto found = place.engine->get(place.name);
  if (!found && found.error().code != Code::not_found) return std::move(found.error());
  if (!found) {
    json::object body{{"name", place.name},
                      {"image", set.image.empty() ? place.config.engine.default_image : set.image},
                      {"resources", json::object{{"cpus", 1}, {"memory_mb", kMemoryMb}}},
                      {"timeout_secs", set.webhook_sandbox_timeout_seconds},
                      {"network", json::object{{"allow_internet_access", false}}},
                      {"exposed_ports", json::array{orchestrator::kWebhookPort}}};
    TRY_DO(place.engine->create(json::serialize(body)), "create ", place.name);
  }
  return wait_until(place.name + " settles", kStableLimit, [&]() -> Result<bool> {
    TRY(now, place.engine->get(place.name));
    const std::string status = text_of(now, "status");
    return status == "running" || status == "suspended";
  });
}

Result<void> set_port(Place& place, const std::vector<std::string>& secrets) {
  TRY_DO(place.engine->update(place.name,
                              json::serialize(json::object{
                                  {"exposed_ports", json::array{orchestrator::kWebhookPort}}})),
         "expose the port");
  json::object body{{"verify", "standard-webhooks"},
                    {"secrets", json::array(secrets.begin(), secrets.end())}};
  TRY_DO(
      place.engine->request("PUT", sandbox_path(place, str("/ports/", orchestrator::kWebhookPort)),
                            json::serialize(body)),
      "set the port's secret");
  return ok;
}

// The orchestrator keeps it open from now on, and may open it in the same moment; it is opened here
// because the program comes with it.
Result<void> open_door(Place& place) {
  TRY(box, place.engine->get(place.name));
  Error last{Code::timeout, "the uplink has no listener"};
  auto open = wait_until("the way to the orchestrator", kOpenLimit, [&]() -> Result<bool> {
    TRY(door, cli::wait(*place.loop, place.uplink->keep_door(text_of(box, "id"))), "the uplink");
    if (door.listening) return true;
    auto asked = place.engine->request("POST", sandbox_path(place, "/uplink"),
                                       str(R"({"port":)", orchestrator::kWebhookDoorPort, '}'));
    if (!asked) last = std::move(asked.error());
    return false;
  });
  if (!open) return std::move(open.error()).with(last.what);
  return ok;
}

json::array wanted_arguments(const Config& config) {
  json::array args{"receive", str("--listen=127.0.0.1:", orchestrator::kWebhookPort),
                   str("--to=http://127.0.0.1:", orchestrator::kWebhookDoorPort)};
  if (!config.orchestrator.steward()) return args;
  args.emplace_back("--steward");
  // What an orchestrator out here would be told; of this machine's own places nothing.
  auto is_for_it = [](std::string_view setting) {
    const std::string_view name = setting.substr(0, setting.find('='));
    return name == "GLOVEBOX_LOG" || (name.starts_with("GLOVEBOX_ORCHESTRATOR_") &&
                                      !name.ends_with("_LISTEN") && !name.ends_with("_URL"));
  };
  for (const std::string& setting : exported(config, "orchestrator"))
    if (is_for_it(setting)) args.emplace_back("--set=" + setting);
  return args;
}

json::object wanted_process(const Config& config) {
  return {
      {"command", kProgram},
      {"args", wanted_arguments(config)},
      {"name", orchestrator::kWebhookReceiver},
      {"restart",
       json::object{{"policy", "always"}, {"initial_backoff_ms", 100}, {"max_backoff_ms", 5000}}},
      {"health_check", json::object{{"type", "http"},
                                    {"port", orchestrator::kWebhookPort},
                                    {"path", "/healthz"},
                                    {"initial_delay_ms", 500},
                                    {"interval_ms", 2000},
                                    {"timeout_ms", 2000},
                                    {"failure_threshold", 5}}}};
}

Result<json::object> ask_box(Place& place, std::string method, std::string path,
                             std::string body = "") {
  TRY(box, place.engine->box(place.name));
  http::Headers headers;
  if (!body.empty()) headers.set("Content-Type", "application/json");
  auto answer = cli::wait(
      place.engine->loop(),
      box.http->call(std::move(method), std::move(path), std::move(body), std::move(headers)));
  if (!answer) return place.engine->explain(std::move(answer.error()));
  if (answer->status / 100 != 2) return cli::api_error(answer->status, answer->body);
  boost::system::error_code wrong;
  json::value value = json::parse(answer->body.empty() ? "{}" : answer->body, wrong);
  if (wrong || !value.is_object()) return Error{Code::internal, "the engine's answer is no object"};
  return std::move(value.as_object());
}

Result<void> start_receiver(Place& place) {
  const json::object wanted = wanted_process(place.config);
  const std::string path = str("/api/v1/processes/", orchestrator::kWebhookReceiver);
  auto there = ask_box(place, "GET", path);
  if (!there && there.error().code != Code::not_found) return std::move(there.error());
  const bool same = there && there->at("args") == wanted.at("args") &&
                    text_of(there->at("managed").as_object(), "status") != "stopped";
  if (same) return ok;
  if (there) TRY_DO(ask_box(place, "DELETE", path), "end the old receiver");
  TRY_DO(ask_box(place, "POST", "/api/v1/processes", json::serialize(wanted)),
         "start the receiver");
  return ok;
}

Result<void> await_health(Place& place) {
  const std::string path = str("/api/v1/processes/", orchestrator::kWebhookReceiver);
  std::string last;
  auto healthy = wait_until("the receiver's health", kHealthyLimit, [&]() -> Result<bool> {
    TRY(process, ask_box(place, "GET", path));
    last = text_of(process.at("managed").as_object(), "health_status");
    return last == "healthy";
  });
  if (healthy) return ok;
  return std::move(healthy.error())
      .with(str("see: glovebox orchestrate --mode=webhook-sandbox logs (health: ", last, ')'));
}

Result<void> await_orchestrator(Place& place) {
  TRY(box, place.engine->get(place.name));
  const bool steward = place.config.orchestrator.steward();
  orchestrator::UplinkApi::Door door;
  auto heard = wait_until("the orchestrator", kHeardLimit, [&]() -> Result<bool> {
    TRY(now, cli::wait(*place.loop, place.uplink->keep_door(text_of(box, "id"))));
    door = now;
    return now.heard && now.steward == steward;
  });
  if (heard) return ok;
  if (door.steward != steward)
    return Error{Code::unavailable,
                 str("Glovebox was started for another way to take work (orchestrator.mode, "
                     "orchestrator.runner); glovebox down, and run this again")};
  if (steward)
    return Error{Code::unavailable,
                 "the uplink cannot reach the queue; glovebox status and its log say more"};
  return Error{Code::unavailable,
               "no orchestrator hears what the receiver says: Glovebox was started with "
               "orchestrator.mode = \"poll\"; glovebox down, and run this again"};
}

json::object summary(const Place& place, const json::object& box) {
  json::object out{{"url", place.url}, {"sandbox", place.name}, {"id", text_of(box, "id")}};
  out["status"] = text_of(box, "status");
  out["runner"] = place.config.orchestrator.inside() ? "inside" : "outside";
  for (const char* more : {"tier", "reason"})
    if (std::string text = text_of(box, more); !text.empty()) out[more] = text;
  return out;
}

Result<int> launch(cli::Context& context, cli::Output& out) {
  TRY_DO(ensure_started(context, out));
  TRY(place, find_place(context));
  out.note(str("glovebox: webhooks go to ", place.url));
  if (!place.own_brain && !context.variable("ANTHROPIC_WEBHOOK_SIGNING_KEY"))
    return Error{Code::invalid,
                 str("register this address for ", kEvent,
                     ", put the secret that is shown then into ANTHROPIC_WEBHOOK_SIGNING_KEY, "
                     "and run this again")};
  TRY_DO(open_uplink(place));
  Result<std::vector<std::string>> secrets = std::vector<std::string>();
  const bool given = context.variable("ANTHROPIC_WEBHOOK_SIGNING_KEY").has_value();
  if (given) secrets = given_secrets(context);
  if (!secrets) return std::move(secrets.error());
  TRY_DO(make_box(place));
  // The brain signs with a new one at once: what it sends until the port knows it is refused.
  if (!given) secrets = own_secrets(place, context);
  if (!secrets) return std::move(secrets.error());
  TRY_DO(set_port(place, *secrets));
  TRY_DO(open_door(place));
  TRY_DO(start_receiver(place));
  TRY_DO(await_health(place));
  TRY_DO(await_orchestrator(place));
  TRY(box, place.engine->get(place.name));
  out.object(summary(place, box));
  return 0;
}

// Looking neither wakes it nor keeps it awake.
Result<int> status(const cli::Context& context, cli::Output& out) {
  TRY(place, find_place(context));
  TRY(box, place.engine->get(place.name));
  out.object(summary(place, box));
  return 0;
}

Result<int> logs(cli::Context& context, cli::Output& out) {
  TRY(config, load_config(context));
  TRY(args, cli::Args::parse(cli::kSandboxLogs.usage, {config.orchestrator.webhook_sandbox_name}));
  return cli::kSandboxLogs.run(context, args, out);
}

Result<int> remove(const cli::Context& context, cli::Output& out) {
  TRY(place, find_place(context));
  if (place.own_brain) {
    cli::Context own = context;
    own.url.reset();
    TRY(brain, cli::BrainClient::open(own));
    TRY(id, find_hook(*brain, place.url));
    if (!id.empty()) TRY_DO(brain->remove(str(kHooks, '/', id)), "unregister the webhook");
  }
  auto removed = place.engine->remove(place.name);
  if (!removed && removed.error().code != Code::not_found) return std::move(removed.error());
  if (!place.own_brain) out.note("glovebox: unregister the webhook where you registered it");
  return 0;
}

}  // namespace

Result<int> webhook_box(cli::Context& context, cli::Args& args, cli::Output& out) {
  const std::string action = args.optional().value_or("");
  TRY_DO(args.done());
  if (args.option("--listen"))
    return cli::usage_error("--listen: its address is the ingress's (ingress.listen)");
  // What is started now asks the queue when it is told to, and what is looked at was started so.
  context.env["GLOVEBOX_ORCHESTRATOR_MODE"] = "webhook-sandbox";
  if (action.empty()) return launch(context, out);
  if (action == "status") return status(context, out);
  if (action == "logs") return logs(context, out);
  if (action == "rm") return remove(context, out);
  return cli::usage_error(str("'", action, "' is none of status, logs, rm"));
}

}  // namespace glovebox::app

// What strangers send to the brain: definitions of agents, query strings, cursors, times, and whole
// requests, which go through their handlers to a brain in memory. Whatever the bytes, an
// answer or an error of theirs, never one of ours; and what was taken is taken again as it is. The
// first byte picks who reads the rest.
#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>

#include "base/log.h"
#include "brain/agent_definition.h"
#include "brain/api_query.h"
#include "brain/brain.h"
#include "brain/ids.h"
#include "net/task.h"
#include "wire/decode.h"

using namespace glovebox;
namespace json = boost::json;

static void must(bool holds) {
  if (!holds) std::abort();
}

static void definition(std::string_view text) {
  auto value = wire::parse_json(text);
  if (!value || !value->is_object()) return;
  auto made = brain::make_definition(value->get_object());
  if (!made) return;
  auto again = brain::make_definition(*made);
  must(again && *again == *made);
  auto same = brain::change_definition(*made, {});
  must(same && *same == *made);
  (void)brain::override_definition(*made, value->get_object());
}

static void query_string(std::string_view text) {
  brain::Query query(text);
  for (auto name : {"types", "limit", "created_at[gte]", ""}) {
    (void)query.text(name);
    (void)query.list(name);
    (void)query.flag(name);
    auto number = query.integer(name, 1, 1000);
    must(!number || !*number || (**number >= 1 && **number <= 1000));
  }
  auto times = query.times("created_at");
  (void)times;
  auto page = brain::page_of(query, "fuzz");
  must(!page || (page->limit >= 1 && page->limit <= brain::kMaxPage));
}

static void cursor(std::string_view text) {
  auto cursor = brain::decode_cursor(text, "fuzz");
  if (!cursor) return;
  must(cursor->number >= 1);
  auto again = brain::decode_cursor(brain::encode_cursor(*cursor, "fuzz"), "fuzz");
  must(again && again->number == cursor->number && again->backward == cursor->backward);
}

static void time(std::string_view text) {
  constexpr brain::Micros kFirst = -62'135'596'800'000'000, kLast = 253'402'300'799'999'999;
  auto time = brain::parse_rfc3339(text);
  if (time && *time >= kFirst && *time <= kLast)
    must(brain::parse_rfc3339(brain::rfc3339(*time)) == time);
}

namespace {

const std::string kKey = "gb-api-fuzz";

// A brain with an agent, an environment, and a session that waits for a call.
struct World {
  net::Loop loop;
  std::unique_ptr<brain::Brain> brain;
  std::vector<http::Route> routes;
  std::string environment, agent, session, work;

  World() {
    must(net::run(loop, open(*this)).has_value());
    auto status = get("GET", "/glovebox/v1/status");
    environment = status.at("default_environment_id").as_string();
    agent = status.at("default_agent_id").as_string();
    session = get("POST", "/v1/sessions",
                  str(R"({"agent":")", agent, R"(","environment_id":")", environment,
                      R"(","initial_events":[{"type":"user.message","content":[)",
                      R"({"type":"text","text":"run `true`"}]}]})"))
                  .at("id")
                  .as_string();
    work = get("GET", "/v1/environments/{env}/work").at("data").at(0).at("id").as_string();
  }
  ~World() { (void)net::run(loop, brain->close(5s)); }

  static Task<void> open(World& self) {
    CO_TRY(opened, co_await brain::Brain::open(self.loop, {.instance = "fuzz"},
                                               {Secret(kKey), {}, Secret("gb-env-fuzz")}));
    self.brain = std::move(opened);
    self.routes = self.brain->routes();
    co_return ok;
  }
  static Task<void> call(const http::Route& route, http::Request request,
                         Result<http::Response>& into) {
    into = co_await route.handler(std::move(request));
    // Turns that were set off get their chance to fall over, too.
    for (int i = 0; i < 4; ++i) CO_TRY_DO(co_await net::yield());
    co_return ok;
  }
  Result<http::Response> request(std::string_view method, std::string_view pattern,
                                 std::string_view query, std::string_view body) {
    auto route = std::ranges::find_if(routes, [&](const http::Route& route) {
      return route.method == method && route.pattern == pattern;
    });
    must(route != routes.end());
    http::Request request{.method = std::string(method), .query = std::string(query)};
    request.headers.set("x-api-key", kKey);
    request.body = body;
    request.params = {{"env", environment}, {"agent", agent}, {"session", session}, {"work", work}};
    Result<http::Response> response = Error{};
    must(net::run(loop, call(*route, std::move(request), response)).has_value());
    return response;
  }
  json::value get(std::string_view method, std::string_view pattern, std::string_view body = "") {
    auto response = request(method, pattern, "", body);
    must(response && response->status == 200);
    return json::parse(response->body);
  }
};

struct Target {
  std::string_view method, pattern;
};
constexpr Target kTargets[] = {
    {"POST", "/v1/agents"},
    {"POST", "/v1/agents/{agent}"},
    {"POST", "/v1/environments"},
    {"POST", "/v1/environments/{env}"},
    {"POST", "/v1/sessions"},
    {"POST", "/v1/sessions/{session}"},
    {"POST", "/v1/sessions/{session}/events"},
    {"POST", "/v1/environments/{env}/work/{work}"},
    {"POST", "/v1/environments/{env}/work/{work}/stop"},
    {"POST", "/glovebox/v1/environments/{env}/keys"},
    // These take the bytes as their query string.
    {"GET", "/v1/agents"},
    {"GET", "/v1/agents/{agent}"},
    {"GET", "/v1/environments"},
    {"GET", "/v1/sessions"},
    {"GET", "/v1/sessions/{session}/events"},
    {"GET", "/v1/environments/{env}/work"},
};

void whole_request(const Target& target, std::string_view text) {
  static std::unique_ptr<World> world;
  static int used = 0;
  if (!world || ++used % 500 == 0) {  // what was made by others must not pile up
    world.reset();
    world = std::make_unique<World>();
  }
  const bool posts = target.method == "POST";
  auto response =
      world->request(target.method, target.pattern, posts ? "" : text, posts ? text : "");
  if (!response) {
    must(response.error().code != Code::internal);
    return;
  }
  must(response->status == 200);
  json::error_code error;
  (void)json::parse(response->body, error);
  must(!error);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool quiet = (log::set_level(log::Level::off), true);
  (void)quiet;
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr void (*kDecoders[])(std::string_view) = {definition, query_string, cursor, time};
  const std::size_t which = data[0] % (std::size(kDecoders) + std::size(kTargets));
  if (which < std::size(kDecoders))
    kDecoders[which](text);
  else
    whole_request(kTargets[which - std::size(kDecoders)], text);
  return 0;
}

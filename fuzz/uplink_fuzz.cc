// What a hostile box may say to the uplink: whole requests, read, routed and judged as the uplink
// does it, and bodies by themselves. Whatever the bytes, an error or a request that is within the
// grant, has nothing of the box but what was understood, and is judged the same a second time. Also
// what a service answers with the credential in it, and what an orchestrator grants. The first byte
// picks what reads the rest.
#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "gateway/redactor.h"
#include "gateway/uplink_body.h"
#include "gateway/uplink_rules.h"
#include "http/router.h"
#include "http/target.h"
#include "net/task.h"

using namespace glovebox;
namespace json = boost::json;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

constexpr std::string_view kCredential = "abab-abaab";  // its beginnings are in itself

gateway::Grant granted() {
  gateway::Grant grant;
  grant.environment = "env_1";
  grant.work = "work_1";
  grant.session = "sesn_1";
  grant.service_url = "http://127.0.0.1:1";
  grant.credential = Secret(std::string(kCredential));
  grant.skills = {"skill_1"};
  grant.stores = {{"store_w", false}, {"store_r", true}};
  return grant;
}

const http::Router& router() {
  static const http::Router router = [] {
    std::vector<http::Route> routes;
    for (const gateway::Rule& rule : gateway::rules())
      routes.push_back({.method = std::string(rule.method),
                        .pattern = std::string(rule.pattern),
                        .handler = [](http::Request) -> Task<http::Response> { std::abort(); }});
    return http::Router(std::move(routes));
  }();
  return router;
}

// The first request of a connection, within the limits of a box's listener.
std::optional<http::Request> request_of(std::string_view bytes) {
  auto parser = http::request_parser({.head = 16 * 1024, .headers = 64});
  while (!parser->done()) {
    auto used = parser->feed(bytes);
    if (!used || *used == 0) return std::nullopt;
    bytes.remove_prefix(*used);
  }
  std::string body = std::move(parser->body);
  auto request = http::make_request(*parser);
  if (!request) return std::nullopt;
  request->body = std::move(body);
  return std::move(*request);
}

struct Judged {
  const gateway::Rule* rule;
  gateway::Outgoing out;
};

std::optional<Judged> judge(http::Request request) {
  static const gateway::Grant grant = granted();
  auto match = router().find(request.method, request.path);
  if (!match.route) return std::nullopt;
  request.params = match.params;
  for (const gateway::Rule& rule : gateway::rules()) {
    if (rule.method != match.route->method || rule.pattern != match.route->pattern) continue;
    auto out = gateway::outgoing(grant, rule.endpoint, request);
    if (out) return Judged{&rule, std::move(*out)};
    const Code code = out.error().code;
    must(code == Code::not_found || code == Code::invalid || code == Code::forbidden ||
         code == Code::too_large);
    return std::nullopt;
  }
  return std::nullopt;
}

// --- what must hold of anything that is passed on; said here in other words than in the rules ---

bool one_word(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 127; });
}

bool within_the_grant(std::string_view method, std::string_view path) {
  if (path.starts_with("/v1/sessions/"))
    return path == "/v1/sessions/sesn_1" || path == "/v1/sessions/sesn_1/events" ||
           path == "/v1/sessions/sesn_1/events/stream";
  if (path.starts_with("/v1/environments/"))
    return path == "/v1/environments/env_1/work/work_1/heartbeat" ||
           path == "/v1/environments/env_1/work/work_1/stop";
  if (path.starts_with("/v1/skills/"))
    return method == "GET" && path.starts_with("/v1/skills/skill_1/versions/");
  if (path.starts_with("/v1/memory_stores/store_r/memories")) return method == "GET";
  return path.starts_with("/v1/memory_stores/store_w/memories");
}

void events_are_results(std::string_view body) {
  const json::value value = json::parse(body);
  must(value.get_object().size() == 1);
  for (const json::value& event : value.at("events").as_array()) {
    must(event.at("type").as_string() == "user.tool_result");
    for (const auto& member : event.get_object())
      must(member.key() == "type" || member.key() == "tool_use_id" || member.key() == "is_error" ||
           member.key() == "content");
  }
}

void whole_request(std::string_view bytes) {
  auto request = request_of(bytes);
  if (!request) return;
  http::Request again = *request;
  auto judged = judge(std::move(*request));
  if (!judged) return;
  const gateway::Outgoing& out = judged->out;
  const std::string_view target = out.target, path = target.substr(0, target.find('?'));
  must(out.method == judged->rule->method);
  must(one_word(target) && !target.contains('#') && !path.contains("//") && !path.contains('%'));
  for (const std::string& part : split(path, '/')) must(part != "." && part != "..");
  must(within_the_grant(out.method, path));
  must(out.body.size() <= gateway::kLargestAnswer);
  for (const auto& [name, value] : out.headers.all()) {
    must(name == "Accept" || name == "User-Agent" || name == "anthropic-version" ||
         name == "anthropic-beta" || name == "x-stainless-helper" || name == "Content-Type");
    must(std::ranges::all_of(value, [](char c) { return c >= ' ' && c < 127; }));
  }
  if (judged->rule->endpoint == gateway::Endpoint::answer) events_are_results(out.body);

  // What was written is understood, and as the same.
  again.path = path;
  again.query = target.size() > path.size() ? target.substr(path.size() + 1) : "";
  again.body = out.body;
  auto twice = judge(std::move(again));
  must(twice && twice->out.target == out.target && twice->out.body == out.body);
}

void body(Result<std::string> (*rewrite)(std::string_view), std::string_view text) {
  auto written = rewrite(text);
  if (!written) {
    must(!written.error().what.empty());
    return;
  }
  auto again = rewrite(*written);
  must(again && *again == *written);
}

void events(std::string_view text) {
  body(gateway::rewrite_events, text);
  if (auto written = gateway::rewrite_events(text)) events_are_results(*written);
}

// However an answer is cut, the same is left of it, and nothing of the credential.
void answer(std::string_view text, std::size_t piece) {
  const Secret secret{std::string(kCredential)};
  gateway::Redactor whole(secret), cut(secret);
  std::string at_once = whole.pass(std::string(text)), pieces;
  at_once += whole.rest();
  for (std::string_view rest = text; !rest.empty();
       rest.remove_prefix(std::min(piece, rest.size())))
    pieces += cut.pass(std::string(rest.substr(0, piece)));
  pieces += cut.rest();
  must(pieces == at_once && at_once.size() == text.size());
  must(!at_once.contains(kCredential));
}

void grant(std::string_view text) {
  auto grant = gateway::decode_grant(text);
  if (!grant) return;
  must(gateway::plain_id(grant->session) && gateway::plain_id(grant->work));
  must(one_word(grant->credential.reveal()));
  for (const auto& store : grant->stores) must(gateway::plain_id(store.id));
  for (const auto& skill : grant->skills) must(gateway::plain_id(skill));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0:
    case 1: whole_request(text); break;
    case 2: events(text); break;
    case 3: body(gateway::rewrite_stop, text); break;
    case 4: body(gateway::rewrite_new_memory, text); break;
    case 5: body(gateway::rewrite_memory_change, text); break;
    case 6: answer(text, data[0] / 8 + 1u); break;
    case 7: grant(text); break;
  }
  return 0;
}

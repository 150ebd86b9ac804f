// Ours: exposed ports with what they ask of requests. Secrets go in and never come out.
#include <algorithm>

#include "engine/api_state.h"
#include "engine/port_rules.h"
#include "net/task.h"
#include "wire/decode.h"
#include "wire/webhook.h"

namespace glovebox::engine {

using http::Request;
using http::Response;

namespace json = boost::json;

namespace {

constexpr std::string_view kStandardWebhooks = "standard-webhooks";
constexpr int kManagement = 9501;

json::object port_json(const wire::IngressPort& port) {
  json::object object{{"port", port.port},
                      {"access", !port.verify.empty() ? "signed"
                                 : port.open          ? "open"
                                                      : "token"}};
  if (port.verify.empty()) return object;
  object["verify"] = port.verify;
  object["secrets"] = port.secrets.size();
  return object;
}

Result<int> port_param(const Request& request) {
  auto port = parse_int<int>(request.param("port"));
  if (!port || *port < 1 || *port > 65535)
    return Error{Code::invalid, "the port must be from 1 to 65535"};
  if (*port == kManagement)
    return Error{Code::invalid, "9501 is the management port and is not to be exposed"};
  return *port;
}

// {"verify": "standard-webhooks", "secrets": ["whsec_…", …]}; without `verify` there is no rule.
Result<wire::IngressPort> rule_of(std::string_view body) {
  wire::IngressPort rule;
  TRY(value, wire::parse_json(trim(body).empty() ? "{}" : body));
  TRY(members, wire::Members::of(value));
  for (const auto& member : members.raw())
    if (member.key() != "verify" && member.key() != "secrets")
      return Error{Code::invalid, str("there is no member ", std::string_view(member.key()))};
  TRY(verify, members.text("verify", 64));
  TRY(secrets, members.texts("secrets", kMostSecrets, 256));
  rule.verify = verify.value_or("");
  if (!rule.verify.empty() && rule.verify != kStandardWebhooks)
    return members.wrong("verify", str("must be \"", kStandardWebhooks, '"'));
  for (const std::string& secret : secrets.value_or(std::vector<std::string>{})) {
    TRY_DO(wire::webhook_key(secret), "secrets");
    if (secret.contains(' ')) return members.wrong("secrets", "have no space in them");
    rule.secrets.emplace_back(secret);
  }
  if (rule.secrets.empty() != rule.verify.empty())
    return members.wrong("secrets", "belong to `verify`, which needs at least one");
  return rule;
}

}  // namespace

Reply list_ports(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(ports, api.engine.ports(sandbox));
  json::array all;
  for (const wire::IngressPort& port : ports) all.push_back(port_json(port));
  co_return http::json(200, json::serialize(json::object{{"ports", std::move(all)}}));
}

Reply set_port(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(port, port_param(request));
  CO_TRY(rule, rule_of(request.body));
  rule.port = port;
  if (rule.verify.empty())
    CO_TRY_DO(co_await api.engine.unverify_port(sandbox, port));
  else
    CO_TRY_DO(co_await api.engine.verify_port(sandbox, std::move(rule)));
  CO_TRY(ports, api.engine.ports(sandbox));
  auto found = std::ranges::find(ports, port, &wire::IngressPort::port);
  if (found == ports.end())
    co_return Error{Code::not_found, str("port ", port, " is not exposed"), "PORT_NOT_EXPOSED"};
  co_return http::json(200, json::serialize(port_json(*found)));
}

}  // namespace glovebox::engine

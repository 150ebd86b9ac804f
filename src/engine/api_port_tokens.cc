// Ours: a token for one port of one sandbox, for whoever is to come in through the ingress.
#include <boost/json.hpp>

#include "base/clock.h"
#include "engine/api_state.h"
#include "engine/ingress_link.h"
#include "net/task.h"
#include "wire/decode.h"
#include "wire/token.h"

namespace glovebox::engine {

using http::Request;

namespace {
constexpr std::int64_t kUsual = 3600, kMost = 365 * 86'400;  // seconds
}

Reply make_port_token(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  auto port = parse_int<int>(request.param("port"));
  if (!port || *port < 1 || *port > 65535)
    co_return Error{Code::invalid, "port: must be a whole number from 1 to 65535"};
  std::int64_t seconds = kUsual;
  if (!trim(request.body).empty()) {
    CO_TRY(value, wire::parse_json(request.body));
    CO_TRY(members, wire::Members::of(value));
    CO_TRY(given, members.integer("expires_secs", 1, kMost));
    for (const auto& member : members.raw())
      if (member.key() != "expires_secs")
        co_return Error{Code::invalid, str("there is no member ", std::string_view(member.key()))};
    seconds = given.value_or(kUsual);
  }
  CO_TRY(record, api.engine.get(sandbox));
  if (record.status == wire::State::terminated)
    co_return Error{Code::gone, str("sandbox ", record.id, " is terminated"), "SANDBOX_TERMINATED"};
  const std::int64_t expires = system_clock().unix_ms() + seconds * 1000;
  const std::string token = wire::sign({.instance = api.engine.instance(),
                                        .box = record.id,
                                        .generation = record.generation,
                                        .verbs = {port_verb(*port)},
                                        .expires_ms = expires},
                                       api.engine.token_key());
  boost::json::object out{
      {"token", token}, {"sandbox_id", record.id}, {"port", *port}, {"expires_at", expires}};
  auto response = http::json(201, boost::json::serialize(out));
  response.headers.set("Cache-Control", "no-store");
  co_return response;
}

}  // namespace glovebox::engine

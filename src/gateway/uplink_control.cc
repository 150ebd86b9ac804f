// Grants over HTTP: decoded, asked, answered.
#include <boost/json.hpp>

#include "gateway/uplink_impl.h"
#include "net/task.h"

namespace glovebox::gateway {

using http::Request;
using http::Response;

namespace {

constexpr Millis kHear = 20s;
constexpr std::size_t kGrant = 256 * 1024, kSmall = 4096;

Result<std::string> work_of(std::string_view text) {
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(text, error);
  const boost::json::value* work =
      !error && value.is_object() ? value.get_object().if_contains("work_id") : nullptr;
  if (!work || !work->is_string()) return Error{Code::invalid, "work_id: must be there"};
  return std::string(std::string_view(work->get_string()));
}

Response status(const Uplink::Status& now) {
  return http::json(200, str(R"({"listening":)", now.listening ? "true" : "false",
                             R"(,"requests":)", now.requests, R"(,"refused":)", now.refused, '}'));
}

Task<Response> put_grant(Uplink* uplink, Request request) {
  CO_TRY(grant, decode_grant(request.body), "grant");
  const std::string box = request.param("box"), work = grant.work;
  CO_TRY_DO(uplink->grant(box, std::move(grant)));
  CO_TRY(now, uplink->renew(box, work));
  co_return status(now);
}

Task<Response> renew_grant(Uplink* uplink, Request request) {
  CO_TRY(work, work_of(request.body));
  CO_TRY(now, uplink->renew(request.param("box"), work));
  co_return status(now);
}

Task<Response> revoke_grant(Uplink* uplink, Request request) {
  uplink->revoke(request.param("box"), request.query_value("work_id").value_or(""));
  co_return http::empty(204);
}

Task<Response> put_door(Uplink* uplink, Request request) {
  CO_TRY(door, uplink->keep_door(request.param("box")));
  co_return http::json(200, str(R"({"listening":)", door.listening, R"(,"heard":)", door.heard,
                                R"(,"steward":)", door.steward, '}'));
}

Task<Response> delete_door(Uplink* uplink, Request request) {
  uplink->close_door(request.param("box"));
  co_return http::empty(204);
}

Task<Response> get_hints(Uplink* uplink, Request request) {
  auto before = parse_int<std::uint64_t>(request.query_value("before").value_or("0"));
  if (!before) co_return Error{Code::invalid, "before: must be a number"};
  CO_TRY(now, co_await uplink->hints(*before, kHear));
  co_return http::json(200, str(R"({"hints":)", now, '}'));
}

}  // namespace

std::vector<http::Route> Uplink::control_routes() {
  return {
      {"PUT", "/grants/{box}", http::Body::whole,
       [this](Request request) { return put_grant(this, std::move(request)); }, kGrant},
      {"POST", "/grants/{box}/renew", http::Body::whole,
       [this](Request request) { return renew_grant(this, std::move(request)); }, kSmall},
      {"DELETE", "/grants/{box}", http::Body::none,
       [this](Request request) { return revoke_grant(this, std::move(request)); }},
      {"PUT", "/doors/{box}", http::Body::none,
       [this](Request request) { return put_door(this, std::move(request)); }},
      {"DELETE", "/doors/{box}", http::Body::none,
       [this](Request request) { return delete_door(this, std::move(request)); }},
      {"GET", "/hints", http::Body::none,
       [this](Request request) { return get_hints(this, std::move(request)); }, 0, true},
  };
}

}  // namespace glovebox::gateway

// Ours: what a worker inside of a box needs. Its credential and its limits are the uplink's.
#include <boost/json.hpp>

#include "engine/api_state.h"
#include "net/task.h"

namespace glovebox::engine {

using http::Request;
using http::Response;

// {"port": N}, or nothing.
static Result<int> port_of(std::string_view body) {
  if (trim(body).empty()) return 0;
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(body, error);
  if (error || !value.is_object()) return Error{Code::invalid, "the body must be an object"};
  int port = 0;
  for (const auto& member : value.get_object()) {
    if (member.key() != "port")
      return Error{Code::invalid, str("there is no member ", std::string_view(member.key()))};
    const boost::json::value& number = member.value();
    if (!number.is_int64() || number.get_int64() < 0 || number.get_int64() > 65535)
      return Error{Code::invalid, "port: must be from 0 to 65535"};
    port = static_cast<int>(number.get_int64());
  }
  return port;
}

Reply open_uplink(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(port, port_of(request.body));
  CO_TRY(uplink, co_await api.engine.open_uplink(std::move(sandbox), port));
  co_return http::json(200, str(R"({"url":")", json_escape(uplink.url), R"(","program":")",
                                json_escape(uplink.program), "\"}"));
}

}  // namespace glovebox::engine

#include "engine/api_routing.h"

namespace glovebox::engine {

using http::Request;

constexpr std::string_view kPlane = "/api/v1";

// The token of "Authorization: Bearer TOKEN".
static std::string_view bearer(const Request& request) {
  constexpr std::string_view kScheme = "bearer ";
  std::string_view value = request.headers.get("Authorization").value_or("");
  if (lower(value.substr(0, kScheme.size())) != kScheme) return "";
  return trim(value.substr(kScheme.size()));
}

bool is_pty_socket(const Request& request) {
  const std::vector<std::string> parts =
      split(request.path, '/');  // "", "s", sandbox, "api", "v1", "pty", id, "ws"
  return parts.size() == 8 && parts[1] == "s" && parts[3] == "api" && parts[4] == "v1" &&
         parts[5] == "pty" && parts[7] == "ws";
}

Result<void> check_key(const ApiKeys& keys, const Request& request) {
  if (request.path == "/healthz" || keys.key.empty()) return ok;
  std::string_view given = bearer(request);
  if (keys.key.equals(given)) return ok;
  if (request.path == "/metrics" && !keys.metrics_key.empty() && keys.metrics_key.equals(given))
    return ok;
  return Error{Code::unauthenticated, "a valid key is needed: Authorization: Bearer KEY",
               "AUTH_REQUIRED"};
}

// "name" of "name.local:8410".
static std::optional<std::string> sandbox_of_host(std::string_view host) {
  constexpr std::string_view kSuffix = ".local";
  std::string name = lower(host.substr(0, host.find(':')));
  if (!name.ends_with(kSuffix)) return std::nullopt;
  name.resize(name.size() - kSuffix.size());
  return name;
}

Result<void> name_sandbox_in_path(Request& request) {
  if (request.path != kPlane && !request.path.starts_with(str(kPlane, '/'))) return ok;
  std::optional<std::string> sandbox;
  if (auto header = request.headers.get("X-Tensorlake-Sandbox-Id"))
    sandbox = std::string(*header);
  else
    sandbox = sandbox_of_host(request.headers.get("Host").value_or(""));
  if (!sandbox)
    return Error{Code::invalid,
                 "which sandbox? Name it by the Host NAME.local, by X-Tensorlake-Sandbox-Id or by "
                 "/s/NAME before the path",
                 "MISSING_SANDBOX_ID"};
  if (!wire::valid_id(*sandbox) && !wire::valid_name(*sandbox))
    return Error{Code::not_found, "no sandbox has such an id or name", "SANDBOX_NOT_FOUND"};
  auto port = request.headers.get("X-Tensorlake-Sandbox-Port");
  if (port && *port != "9501")
    return Error{Code::unsupported, "ports of sandboxes are the ingress's, at its own address",
                 "NOT_IMPLEMENTED"};
  request.path = str("/s/", *sandbox, request.path);
  return ok;
}

}  // namespace glovebox::engine

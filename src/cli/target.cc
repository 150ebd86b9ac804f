#include "cli/target.h"

#include <boost/json.hpp>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "base/str.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

Result<std::string> read_file(const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  if (!file) return sys_error(path, errno ? errno : EIO);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

// {"parts": {"engine": {"url": …}}}
Result<std::string> engine_url(const std::string& state) {
  auto text = read_file(str(state, "/run/endpoints.json"));
  if (!text) {
    if (text.error().code == Code::not_found)
      return Error{Code::unavailable, str("no engine runs in ", state,
                                          "; start it with: glovebox up --detach (or say where "
                                          "one is: --url, TENSORLAKE_API_URL)")};
    return std::move(text.error());
  }
  boost::system::error_code wrong;
  json::value parsed = json::parse(*text, wrong);
  const json::value* url = wrong ? nullptr : parsed.find_pointer("/parts/engine/url", wrong);
  if (!url || !url->is_string())
    return Error{Code::unavailable, str(state,
                                        "/run/endpoints.json names no engine; 'glovebox "
                                        "status' says which parts run")};
  return std::string(url->as_string());
}

Result<Secret> key_for(const Context& context, const http::Url& url, bool written_by_up) {
  if (auto key = context.variable("TENSORLAKE_API_KEY")) return Secret(*key);
  // Never to a host that is not ours.
  if (!written_by_up && !is_loopback(url.host)) return Secret();
  TRY(state, context.state_dir());
  std::string path = state + "/keys/engine";
  auto text = read_file(path);
  if (text) return Secret(std::string(trim(*text)));
  if (text.error().code != Code::forbidden) return Secret();  // No such instance here: ask without.
  return Error{Code::forbidden, str("the engine's key ", path,
                                    " may not be read by this user: run as its owner (root), or "
                                    "set TENSORLAKE_API_KEY")};
}

}  // namespace

bool is_local_name(std::string_view host) { return host == "localhost" || host == "127.0.0.1"; }

bool is_loopback(std::string_view host) {
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (is_local_name(host) || host == "::1" || host.empty()) return true;  // empty: a Unix socket
  // 127.0.0.0/8, but not a name such as 127.example.org.
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos;
}

Result<Target> find_engine(const Context& context) {
  Target target;
  auto given = context.url ? context.url : context.variable("TENSORLAKE_API_URL");
  if (given) {
    target.text = *given;
  } else {
    TRY(state, context.state_dir());
    TRY(url, engine_url(state));
    target.text = std::move(url);
  }
  while (target.text.size() > 1 && target.text.ends_with('/')) target.text.pop_back();
  auto url = http::Url::parse(target.text);
  if (!url) return usage_error(str("'", target.text, "' is not a URL: ", url.error().what));
  target.url = std::move(*url);
  TRY(key, key_for(context, target.url, !given));
  target.key = std::move(key);
  return target;
}

Origin lifecycle_origin(const http::Url& url, std::string_view space) {
  if (!url.host.starts_with("api.")) return {url, str("/v1/namespaces/", http::encode_path(space))};
  Origin origin{url, ""};
  origin.url.host = "sandbox." + url.host.substr(4);
  return origin;
}

Result<DataPlane> data_plane(std::string_view sandbox_url, std::string_view id) {
  TRY(url, http::Url::parse(sandbox_url), "address of sandbox ", id);
  DataPlane plane{std::move(url), {}};
  if (is_local_name(plane.url.host)) {
    plane.headers.set("Host", str(id, ".local"));
  } else {
    plane.url.path_prefix.clear();
    plane.headers.set("X-Tensorlake-Sandbox-Id", std::string(id));
  }
  return plane;
}

}  // namespace glovebox::cli

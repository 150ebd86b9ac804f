#include "cli/target.h"

#include <boost/json.hpp>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "base/str.h"
#include "net/also_trust.h"

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

struct Part {
  const char* name;      // in endpoints.json, and of its key file
  const char* variable;  // says where it is
};
constexpr Part kEngine{"engine", "TENSORLAKE_API_URL"}, kBrain{"brain", "GLOVEBOX_BRAIN_URL"};

// Of {"parts": {"engine": {"url": …}}, "ingress_domain": …}, by its JSON pointer.
Result<std::string> written(const std::string& state, std::string_view pointer) {
  TRY(text, read_file(str(state, "/run/endpoints.json")));
  boost::system::error_code wrong;
  json::value parsed = json::parse(text, wrong);
  const json::value* found = wrong ? nullptr : parsed.find_pointer(pointer, wrong);
  if (!found || !found->is_string())
    return Error{Code::unavailable, str(state, "/run/endpoints.json has no ", pointer)};
  return std::string(found->as_string());
}

Result<std::string> written_url(const std::string& state, const Part& part) {
  auto url = written(state, str("/parts/", part.name, "/url"));
  if (url) return url;
  if (url.error().code == Code::not_found)
    return Error{Code::unavailable, str("no ", part.name, " runs in ", state,
                                        "; start it with: glovebox up --detach (or say where "
                                        "one is: --url, ",
                                        part.variable, ")")};
  if (url.error().code != Code::unavailable) return url;
  return Error{
      Code::unavailable,
      str("no ", part.name, " runs in ", state, ", though other parts do: they were started ",
          "without ('glovebox status' says which; 'glovebox down' and 'up' start all)")};
}

// The key of this machine's instance; empty: there is no such instance, ask without.
Result<Secret> key_file(const Context& context, const Part& part, std::string_view variable) {
  TRY(state, context.state_dir());
  std::string path = str(state, "/keys/", part.name);
  auto text = read_file(path);
  if (text) return Secret(std::string(trim(*text)));
  if (text.error().code != Code::forbidden) return Secret();
  return Error{Code::forbidden,
               str("the ", part.name, "'s key ", path,
                   " may not be read by this user: run as its owner (root), or set ", variable)};
}

Result<Secret> engine_key(const Context& context, const http::Url& url, bool written_by_up) {
  if (auto key = context.variable("TENSORLAKE_API_KEY")) return Secret(*key);
  // Never to a host that is not ours.
  if (!written_by_up && !is_loopback(url.host)) return Secret();
  return key_file(context, kEngine, "TENSORLAKE_API_KEY");
}

Result<Secret> brain_key(const Context& context, const http::Url& url, bool written_by_up) {
  std::string given = context.variable("ANTHROPIC_API_KEY").value_or("");
  bool own = given.starts_with("gb-");  // made by a Glovebox
  if (!written_by_up && !is_loopback(url.host)) {
    if (own && url.host == "api.anthropic.com")
      return Error{Code::forbidden,
                   "ANTHROPIC_API_KEY is a key of a Glovebox, and is not sent to " + url.host};
    return Secret(given);
  }
  // The variable is perhaps a model's key, which is none of our brain's business.
  auto key = key_file(context, kBrain, "ANTHROPIC_API_KEY");
  if (key && (written_by_up || !own) && !key->empty()) return key;
  if (own || (!written_by_up && !given.empty())) return Secret(given);
  return key;
}

Result<Target> find(const Context& context, const Part& part,
                    Result<Secret> (*key_for)(const Context&, const http::Url&, bool)) {
  Target target;
  auto given = context.url ? context.url : context.variable(part.variable);
  if (given) {
    target.text = *given;
  } else {
    TRY(state, context.state_dir());
    TRY(url, written_url(state, part));
    target.text = std::move(url);
  }
  while (target.text.size() > 1 && target.text.ends_with('/')) target.text.pop_back();
  auto url = http::Url::parse(target.text);
  if (!url) return usage_error(str("'", target.text, "' is not a URL: ", url.error().what));
  target.url = std::move(*url);
  TRY(key, key_for(context, target.url, !given));
  target.key = std::move(key);
  target.also_trust = trusted_certificates(context);
  return target;
}

}  // namespace

bool is_local_name(std::string_view host) { return host == "localhost" || host == "127.0.0.1"; }

bool is_loopback(std::string_view host) {
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (is_local_name(host) || host == "::1" || host.empty()) return true;  // empty: a Unix socket
  // 127.0.0.0/8, but not a name such as 127.example.org.
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos;
}

std::string trusted_certificates(const Context& context) {
  if (auto file = context.variable("GLOVEBOX_CA_FILE")) return *file;
  auto state = context.state_dir();
  if (!state) return "";
  // The ingress, which strangers talk to, can write that file: it speaks for its own names alone.
  auto domain = written(*state, "/ingress_domain");
  if (!domain) return "";
  return net::AlsoTrust{.file = str(*state, "/ingress/ca.pem"), .domain = std::move(*domain)}
      .text();
}

std::string ingress_url(const Context& context, std::string_view label) {
  if (context.url || context.variable(kEngine.variable)) return "";
  auto state = context.state_dir();
  if (!state) return "";
  auto domain = written(*state, "/ingress_domain"), listens = written(*state, "/parts/ingress/url");
  auto url = http::Url::parse(listens ? *listens : "");
  if (!domain || !url) return "";
  return str("https://", label, '.', *domain, ':', url->port);
}

Result<Target> find_engine(const Context& context) { return find(context, kEngine, engine_key); }
Result<Target> find_brain(const Context& context) { return find(context, kBrain, brain_key); }

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

#include "cli/env.h"

#include <boost/json.hpp>

#include "base/str.h"
#include "cli/commands.h"
#include "cli/target.h"

namespace glovebox::cli {

Result<std::string> shell_quoted(std::string_view text) {
  std::string out = "'";
  for (char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      return Error{Code::invalid, "a value with control characters cannot be printed for a shell"};
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

Result<void> safe_for_sdk(const http::Url& url) {
  if (!url.unix_path.empty())
    return Error{Code::unsupported,
                 "the engine listens on a Unix socket, which the SDK cannot reach; give it an "
                 "address: engine.listen = \"127.0.0.1:8410\""};
  if (is_local_name(url.host) || (url.host.starts_with("api.") && url.host.size() > 4)) return ok;
  return Error{
      Code::forbidden,
      str("with the API host '", url.host,
          "' the Tensorlake SDK would send its calls and its key to https://sandbox.tensorlake.ai: "
          "it keeps to the URL only for localhost, 127.0.0.1 and names that begin with 'api.'. Let "
          "the engine listen on 127.0.0.1 (engine.listen), bring its port here with 'ssh -L "
          "8410:HOST:8410 …' and use --url=http://127.0.0.1:8410, or give it a name "
          "api.SOMETHING")};
}

std::optional<std::string> no_proxy_for(const Environment& env, std::string_view host) {
  bool proxied = false;
  for (const char* name :
       {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"})
    if (auto found = env.find(name); found != env.end()) proxied |= !found->second.empty();
  if (!proxied || !is_local_name(host)) return std::nullopt;
  std::string list;
  for (const char* name : {"NO_PROXY", "no_proxy"})
    if (auto found = env.find(name); found != env.end() && list.empty()) list = found->second;
  bool listed = list == "*";
  for (const std::string& entry : split(list, ',')) listed |= trim(entry) == host;
  if (listed) return std::nullopt;
  return str(list, list.empty() ? "" : ",", "127.0.0.1,localhost");
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(target, find_engine(context));
  TRY_DO(safe_for_sdk(target.url));
  std::vector<std::pair<std::string, std::string>> exports = {{"TENSORLAKE_API_URL", target.text}};
  if (target.key.empty()) {
    out.note("glovebox: no key found: clients will be refused unless TENSORLAKE_API_KEY is set");
  } else {
    exports.emplace_back("TENSORLAKE_API_KEY", target.key.reveal());
  }
  if (auto list = no_proxy_for(context.env, target.url.host)) {
    out.note(
        "glovebox: a proxy is set in this environment and clients use it even for this machine: "
        "NO_PROXY is set too");
    exports.emplace_back("NO_PROXY", *list);
    exports.emplace_back("no_proxy", *list);
  }
  std::string text;
  boost::json::object object;
  for (const auto& [name, value] : exports) {
    TRY(quoted, shell_quoted(value), name);
    text += str("export ", name, "=", quoted, "\n");
    object[name] = value;
  }
  // A pipe gets shell text too: it is `eval "$(glovebox env)"` that reads it.
  if (context.json_asked) {
    out.text(boost::json::serialize(object) + "\n");
  } else {
    out.text(text);
  }
  return 0;
}

const Command kEnv{
    .name = "env",
    .usage = "env",
    .help =
        "Print what clients need in their environment. For a shell: eval \"$(glovebox env)\".\n"
        "\n"
        "Exports TENSORLAKE_API_URL and TENSORLAKE_API_KEY, and NO_PROXY where a proxy is set. It "
        "is shell\n"
        "text in a pipe too; --json prints one JSON object. Refuses an address with which the "
        "official\n"
        "SDK would send the key elsewhere.",
    .run = run};

}  // namespace glovebox::cli

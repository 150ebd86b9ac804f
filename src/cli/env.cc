#include "cli/env.h"

#include <boost/json.hpp>

#include "base/str.h"
#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"
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

using Exports = std::vector<std::pair<std::string, std::string>>;

static Result<void> add_engine(Context& context, Output& out, Exports& exports) {
  TRY(target, find_engine(context));
  TRY_DO(safe_for_sdk(target.url));
  exports.emplace_back("TENSORLAKE_API_URL", target.text);
  if (target.key.empty()) {
    out.note("glovebox: no key found: clients will be refused unless TENSORLAKE_API_KEY is set");
  } else {
    exports.emplace_back("TENSORLAKE_API_KEY", target.key.reveal());
  }
  return ok;
}

static Result<void> add_brain(Context context, Output& out, Exports& exports) {
  context.url.reset();  // that was the engine's
  // What is set here is perhaps a model's key, for another service: it is about to be replaced.
  TRY(target, find_brain(context));
  if (!target.url.unix_path.empty())
    return Error{Code::unsupported, "the brain listens on a Unix socket, which no SDK can reach"};
  if (!target.key.reveal().starts_with("gb-"))
    return Error{Code::unauthenticated, "there is no key of the brain to be had here"};
  exports.emplace_back("ANTHROPIC_BASE_URL", target.text);
  exports.emplace_back("ANTHROPIC_API_KEY", target.key.reveal());
  TRY(brain, BrainClient::open(context));
  auto status = brain->get("/glovebox/v1/status");
  if (status) {
    exports.emplace_back("ANTHROPIC_ENVIRONMENT_ID", text_of(*status, "default_environment_id"));
  } else {
    out.note(str("glovebox: ANTHROPIC_ENVIRONMENT_ID is left out: ", status.error().what));
  }
  return ok;
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  Exports exports;
  TRY_DO(add_engine(context, out, exports));
  // An engine elsewhere has no brain that we know of.
  if (!context.url || context.variable("GLOVEBOX_BRAIN_URL")) {
    auto added = add_brain(context, out, exports);
    if (!added)
      out.note(str("glovebox: only what the engine's clients need: ", added.error().what));
  }
  TRY(target, find_engine(context));
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
        "Exports TENSORLAKE_API_URL and TENSORLAKE_API_KEY for the engine; ANTHROPIC_BASE_URL,\n"
        "ANTHROPIC_API_KEY and ANTHROPIC_ENVIRONMENT_ID for the brain, where one runs; and "
        "NO_PROXY\n"
        "where a proxy is set. It is shell text in a pipe too; --json prints one JSON object.\n"
        "Refuses an address with which the official SDK would send the key elsewhere.",
    .run = run};

}  // namespace glovebox::cli

#include "app/well_known.h"

#include <cstring>

#include "app/state.h"
#include "cli/target.h"
#include "http/client.h"
#include "http/custom_headers.h"
#include "net/stream.h"

extern char** environ;

namespace glovebox::app {

namespace {

constexpr std::string_view kHostedService = "https://api.anthropic.com";

std::string variable(const cli::Environment& env, std::string_view name) {
  auto found = env.find(name);
  return found == env.end() ? "" : found->second;
}

// Whether a request to it would come back to the brain of this instance.
bool is_own_brain(const std::string& text, const Config& config) {
  auto url = http::Url::parse(text);
  if (!url) return false;
  auto same = [&](const std::string& listen) {
    auto own = net::Address::parse(listen);
    if (!own) return false;
    if (!own->unix_path.empty()) return own->unix_path == url->unix_path;
    return own->port != 0 && own->port == url->port &&
           (cli::is_loopback(url->host) || url->host == own->host);
  };
  if (same(config.brain.listen)) return true;
  auto endpoints = read_endpoints(config.state);  // where the port was any
  if (endpoints)
    for (const PartStatus& part : endpoints->parts) {
      auto at = http::Url::parse(part.url);
      if (part.name == "brain" && at && same(at->authority())) return true;
    }
  return false;
}

Result<WellKnown> hosted(Config& config, const cli::Environment& env, std::string key) {
  std::string base = variable(env, "ANTHROPIC_BASE_URL");
  std::string& url = config.orchestrator.brain_url;
  if (url.empty()) url = base.empty() ? std::string(kHostedService) : base;
  if (config.orchestrator.environment_id.empty())
    config.orchestrator.environment_id = variable(env, "ANTHROPIC_ENVIRONMENT_ID");
  if (url == kHostedService && is_own_key(key))
    return Error{Code::invalid,
                 "ANTHROPIC_ENVIRONMENT_KEY is a key of a Glovebox's brain: say where that brain "
                 "is (ANTHROPIC_BASE_URL), or unset the key to use the brain of this machine"};
  if (config.orchestrator.environment_id.empty() && !is_own_key(key))
    return Error{Code::invalid,
                 "ANTHROPIC_ENVIRONMENT_KEY is set, but not the environment it is of: set "
                 "ANTHROPIC_ENVIRONMENT_ID too (or unset the key to use the brain of this "
                 "machine)"};
  WellKnown out{.hosted = true};
  out.keys["environment"] = Secret(std::move(key));
  const std::string lines = variable(env, "ANTHROPIC_CUSTOM_HEADERS");
  TRY_DO(http::parse_custom_headers(lines), "ANTHROPIC_CUSTOM_HEADERS");
  if (!lines.empty()) out.keys["headers"] = Secret(http::encode_query(lines));
  return out;
}

}  // namespace

bool is_own_key(std::string_view key) { return key.starts_with("gb-"); }

Result<WellKnown> take_well_known(Config& config, const cli::Environment& env) {
  if (std::string key = variable(env, "ANTHROPIC_ENVIRONMENT_KEY"); !key.empty())
    return hosted(config, env, std::move(key));
  WellKnown out;
  std::string key = variable(env, "ANTHROPIC_API_KEY");
  std::string base = variable(env, "ANTHROPIC_BASE_URL");
  bool ours = is_own_key(key);  // then so is the URL beside it: they come from `glovebox env`
  if (!key.empty() && !ours) out.keys["model"] = Secret(std::move(key));
  if (!base.empty() && !ours && config.brain.model_url == Config().brain.model_url &&
      !is_own_brain(base, config)) {
    config.brain.model_url = base;
    TRY_DO(http::Url::parse(base), "ANTHROPIC_BASE_URL");
  }
  if (is_own_brain(config.brain.model_url, config))
    return Error{Code::invalid,
                 str("brain.model_url: ", config.brain.model_url,
                     " is this instance's own brain, which would ask itself for every answer; it "
                     "must be the URL of a Messages API")};
  return out;
}

void forget_secrets_of_environment() {
  for (char** entry = environ; *entry; ++entry)
    for (std::string_view name :
         {"ANTHROPIC_API_KEY=", "ANTHROPIC_ENVIRONMENT_KEY=", "ANTHROPIC_AUTH_TOKEN=",
          "ANTHROPIC_WORK_SECRET=", "ANTHROPIC_CUSTOM_HEADERS=", "ANTHROPIC_WEBHOOK_SIGNING_KEY=",
          "TENSORLAKE_API_KEY="})
      if (std::string_view(*entry).starts_with(name)) {
        char* value = *entry + name.size();
        std::memset(value, 'x', std::strlen(value));
      }
}

}  // namespace glovebox::app

#include "app/config.h"

#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <variant>

#include "base/log.h"
#include "cli/suggest.h"
#include "http/client.h"
#include "net/also_trust.h"
#include "net/stream.h"
#include "sys/tree.h"
#include "wire/sandbox.h"

namespace glovebox::app {

namespace {

constexpr std::string_view kDefaultFile = "/etc/glovebox/glovebox.toml";
constexpr std::size_t kFileLimit = 1 << 20;

struct Number {
  std::int64_t& (*at)(Config&);
  std::int64_t least, most;
};
using Text = std::string& (*)(Config&);
using List = std::vector<std::string>& (*)(Config&);
using Flag = bool& (*)(Config&);

struct Setting {
  std::string_view key;
  std::variant<Text, List, Number, Flag> place;
  std::string_view also = {};  // what the reference integration calls its variable

  std::string variable() const {
    std::string name = "GLOVEBOX_";
    for (char c : key) name += c == '.' ? '_' : static_cast<char>(::toupper(c));
    return name;
  }
  std::string_view section() const {
    return key.substr(0, key.find('.') == key.npos ? 0 : key.find('.'));
  }
};

// Variables that are no settings, and who reads them.
struct OtherVariable {
  std::string_view name;
  enum class For { people, secret, tests } who;
};
using For = OtherVariable::For;
constexpr OtherVariable kOthers[] = {
    {"GLOVEBOX_CONFIG", For::people},  {"GLOVEBOX_BRAIN_URL", For::people},
    {"GLOVEBOX_CA_FILE", For::people}, {"GLOVEBOX_REGISTRY_PASSWORD", For::secret},
    {"GLOVEBOX_FAULT", For::tests},    {"GLOVEBOX_BIN", For::tests},
    {"GLOVEBOX_SEED", For::tests},     {"GLOVEBOX_SOAK", For::tests}};
constexpr std::string_view kOurs = "GLOVEBOX_", kOfTests = "GLOVEBOX_TEST_";

constexpr std::int64_t kMany = 1'000'000'000;
const Setting kSettings[] = {
    {"state", Text([](Config& c) -> auto& { return c.state; })},
    {"log", Text([](Config& c) -> auto& { return c.log; })},
    {"log_mb", Number{[](Config& c) -> auto& { return c.log_mb; }, 1, 1 << 20}},
    {"engine.listen", Text([](Config& c) -> auto& { return c.engine.listen; })},
    {"engine.allowed_hosts", List([](Config& c) -> auto& { return c.engine.allowed_hosts; })},
    {"engine.hand", Text([](Config& c) -> auto& { return c.engine.hand; })},
    {"engine.default_image", Text([](Config& c) -> auto& { return c.engine.default_image; })},
    {"engine.blanks", Number{[](Config& c) -> auto& { return c.engine.blanks; }, 0, 1000}},
    {"engine.max_sandboxes",
     Number{[](Config& c) -> auto& { return c.engine.max_sandboxes; }, 1, 1'000'000}},
    {"engine.default_timeout_secs",
     Number{[](Config& c) -> auto& { return c.engine.default_timeout_secs; }, 1, kMany}},
    {"engine.max_timeout_secs",
     Number{[](Config& c) -> auto& { return c.engine.max_timeout_secs; }, 1, kMany}},
    {"engine.pause_after_secs",
     Number{[](Config& c) -> auto& { return c.engine.pause_after_secs; }, 0, kMany}},
    {"engine.idle_cpu_percent",
     Number{[](Config& c) -> auto& { return c.engine.idle_cpu_percent; }, 1, 100}},
    {"engine.default_pids",
     Number{[](Config& c) -> auto& { return c.engine.default_pids; }, 16, 4'194'304}},
    {"engine.default_network", Text([](Config& c) -> auto& { return c.engine.default_network; })},
    {"engine.network_range", Text([](Config& c) -> auto& { return c.engine.network_range; })},
    {"engine.reserve_mb", Number{[](Config& c) -> auto& { return c.engine.reserve_mb; }, 0, kMany}},
    {"engine.pool", Text([](Config& c) -> auto& { return c.engine.pool; })},
    {"brain.listen", Text([](Config& c) -> auto& { return c.brain.listen; })},
    {"brain.allowed_hosts", List([](Config& c) -> auto& { return c.brain.allowed_hosts; })},
    {"brain.model_url", Text([](Config& c) -> auto& { return c.brain.model_url; })},
    {"brain.default_model", Text([](Config& c) -> auto& { return c.brain.default_model; })},
    {"brain.scenario", Text([](Config& c) -> auto& { return c.brain.scenario; })},
    {"brain.lease_ttl_secs",
     Number{[](Config& c) -> auto& { return c.brain.lease_ttl_secs; }, 10, 600}},
    {"brain.keep_events_days",
     Number{[](Config& c) -> auto& { return c.brain.keep_events_days; }, 0, 36'500}},
    {"brain.max_sessions_running",
     Number{[](Config& c) -> auto& { return c.brain.max_sessions_running; }, 1, 1'000'000}},
    {"brain.webhooks_allow_private",
     Flag([](Config& c) -> auto& { return c.brain.webhooks_allow_private; })},
    {"resolver.listen", Text([](Config& c) -> auto& { return c.resolver.listen; })},
    {"resolver.servers", List([](Config& c) -> auto& { return c.resolver.servers; })},
    {"ingress.listen", Text([](Config& c) -> auto& { return c.ingress.listen; })},
    {"ingress.domain", Text([](Config& c) -> auto& { return c.ingress.domain; })},
    {"ingress.certificate", Text([](Config& c) -> auto& { return c.ingress.certificate; })},
    {"ingress.certificate_key", Text([](Config& c) -> auto& { return c.ingress.certificate_key; })},
    {"ingress.access_log", Flag([](Config& c) -> auto& { return c.ingress.access_log; })},
    {"ingress.max_connections",
     Number{[](Config& c) -> auto& { return c.ingress.max_connections; }, 1, 1'000'000}},
    {"ingress.source_connections",
     Number{[](Config& c) -> auto& { return c.ingress.source_connections; }, 1, 1'000'000}},
    {"ingress.source_requests_per_second",
     Number{[](Config& c) -> auto& { return c.ingress.source_requests_per_second; }, 1, kMany}},
    {"ingress.source_wakes_per_minute",
     Number{[](Config& c) -> auto& { return c.ingress.source_wakes_per_minute; }, 1, kMany}},
    {"ingress.source_refusals_per_minute",
     Number{[](Config& c) -> auto& { return c.ingress.source_refusals_per_minute; }, 1, kMany}},
    {"orchestrator.listen", Text([](Config& c) -> auto& { return c.orchestrator.listen; })},
    {"orchestrator.brain_url", Text([](Config& c) -> auto& { return c.orchestrator.brain_url; })},
    {"orchestrator.environment_id",
     Text([](Config& c) -> auto& { return c.orchestrator.environment_id; })},
    {"orchestrator.worker_id", Text([](Config& c) -> auto& { return c.orchestrator.worker_id; }),
     "ANTHROPIC_WORKER_ID"},
    {"orchestrator.image", Text([](Config& c) -> auto& { return c.orchestrator.image; }),
     "SANDBOX_IMAGE_NAME"},
    {"orchestrator.runner", Text([](Config& c) -> auto& { return c.orchestrator.runner; })},
    {"orchestrator.mode", Text([](Config& c) -> auto& { return c.orchestrator.mode; })},
    {"orchestrator.webhook_sandbox_name",
     Text([](Config& c) -> auto& { return c.orchestrator.webhook_sandbox_name; }),
     "WEBHOOK_SANDBOX_NAME"},
    {"orchestrator.webhook_sandbox_timeout_seconds",
     Number{[](Config& c) -> auto& { return c.orchestrator.webhook_sandbox_timeout_seconds; }, 1,
            kMany},
     "WEBHOOK_SANDBOX_TIMEOUT_SECONDS"},
    {"orchestrator.max_sessions",
     Number{[](Config& c) -> auto& { return c.orchestrator.max_sessions; }, 1, 100'000}},
    {"orchestrator.max_idle_secs",
     Number{[](Config& c) -> auto& { return c.orchestrator.max_idle_secs; }, 1, 86'400},
     "RUNNER_MAX_IDLE_SECONDS"},
    {"orchestrator.sandbox_timeout_seconds",
     Number{[](Config& c) -> auto& { return c.orchestrator.sandbox_timeout_seconds; }, 1, kMany},
     "SANDBOX_TIMEOUT_SECONDS"},
    {"orchestrator.resume_suspended_sessions",
     Flag([](Config& c) -> auto& { return c.orchestrator.resume_suspended_sessions; }),
     "RESUME_SUSPENDED_SESSIONS"},
    {"orchestrator.session_images",
     List([](Config& c) -> auto& { return c.orchestrator.session_images; })},
    {"orchestrator.session_snapshots",
     List([](Config& c) -> auto& { return c.orchestrator.session_snapshots; })},
    {"orchestrator.session_volumes",
     List([](Config& c) -> auto& { return c.orchestrator.session_volumes; })},
    {"orchestrator.session_internet",
     Flag([](Config& c) -> auto& { return c.orchestrator.session_internet; })},
    {"orchestrator.session_hosts",
     List([](Config& c) -> auto& { return c.orchestrator.session_hosts; })},
    {"orchestrator.session_directories",
     List([](Config& c) -> auto& { return c.orchestrator.session_directories; })},
    {"orchestrator.session_ca", Text([](Config& c) -> auto& { return c.orchestrator.session_ca; })},
    {"orchestrator.session_files_mb",
     Number{[](Config& c) -> auto& { return c.orchestrator.session_files_mb; }, 1, 1 << 20}},
    {"orchestrator.session_files_secs",
     Number{[](Config& c) -> auto& { return c.orchestrator.session_files_secs; }, 1, 86'400}},
    {"orchestrator.keep_boxes",
     Number{[](Config& c) -> auto& { return c.orchestrator.keep_boxes; }, 0, 1'000'000}},
    {"orchestrator.keep_boxes_secs",
     Number{[](Config& c) -> auto& { return c.orchestrator.keep_boxes_secs; }, 0, kMany}},
    {"orchestrator.keep_outputs_secs",
     Number{[](Config& c) -> auto& { return c.orchestrator.keep_outputs_secs; }, 0, kMany}},
    {"orchestrator.clean_secs",
     Number{[](Config& c) -> auto& { return c.orchestrator.clean_secs; }, 1, 86'400}},
    {"orchestrator.pool_min",
     Number{[](Config& c) -> auto& { return c.orchestrator.pool_min; }, 0, 1000}},
    {"orchestrator.pool_max",
     Number{[](Config& c) -> auto& { return c.orchestrator.pool_max; }, 0, 1000}},
    {"orchestrator.poll_block_ms",
     Number{[](Config& c) -> auto& { return c.orchestrator.poll_block_ms; }, 1, 999},
     "POLL_BLOCK_MS"},
    {"orchestrator.poll_reclaim_older_than_ms",
     Number{[](Config& c) -> auto& { return c.orchestrator.poll_reclaim_older_than_ms; }, 1, kMany},
     "POLL_RECLAIM_OLDER_THAN_MS"},
    {"orchestrator.webhook_listen",
     Text([](Config& c) -> auto& { return c.orchestrator.webhook_listen; })},
    {"orchestrator.webhook_drain_seconds",
     Number{[](Config& c) -> auto& { return c.orchestrator.webhook_drain_seconds; }, 1, 86'400},
     "WEBHOOK_DRAIN_SECONDS"},
    {"orchestrator.webhook_reclaim_older_than_ms",
     Number{[](Config& c) -> auto& { return c.orchestrator.webhook_reclaim_older_than_ms; }, 1,
            kMany},
     "WEBHOOK_RECLAIM_OLDER_THAN_MS"},
    {"orchestrator.drain_secs",
     Number{[](Config& c) -> auto& { return c.orchestrator.drain_secs; }, 0, 600}},
    {"uplink.listen", Text([](Config& c) -> auto& { return c.uplink.listen; })},
};

const Setting* find(std::string_view key) {
  for (const Setting& setting : kSettings)
    if (setting.key == key) return &setting;
  return nullptr;
}

Result<void> check_url(std::string_view key, const std::string& text) {
  auto url = http::Url::parse(text);
  if (url && url->scheme.starts_with("http")) return ok;
  return Error{Code::invalid,
               str(key, ": '", text, "' is not a URL such as https://api.anthropic.com")};
}

// No client believes a certificate for all names below a single label.
Result<void> check_domain(const std::string& domain) {
  const std::vector<std::string> labels = split(domain, '.');
  bool good = labels.size() >= 2 && domain.size() <= 180 && !domain.ends_with(".local");
  for (const std::string& label : labels)
    good = good && !label.empty() && label.size() <= 63 && !label.starts_with('-') &&
           !label.ends_with('-') &&
           label.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == label.npos;
  if (good && labels.back().find_first_not_of("0123456789") != std::string::npos) return ok;
  return Error{
      Code::invalid,
      str("ingress.domain: '", domain,
          "' is no domain of at least two labels in lower case, such as boxes.example.com")};
}

Result<void> check_certificate(const Config::Ingress& ingress) {
  if (ingress.certificate.empty() != ingress.certificate_key.empty())
    return Error{Code::invalid, "ingress.certificate and ingress.certificate_key go together"};
  for (auto [key, path] : {std::pair{"certificate", &ingress.certificate},
                           {"certificate_key", &ingress.certificate_key}})
    if (!path->empty() && !path->starts_with('/'))
      return Error{Code::invalid, str("ingress.", key, ": '", *path, "' must be an absolute path")};
  return ok;
}

// What can only be said of a value by its meaning.
Result<void> check(const Config& config) {
  if (!config.state.starts_with('/'))
    return Error{Code::invalid, str("state: '", config.state, "' must be an absolute path")};
  for (auto [key, listen] : {std::pair{"engine.listen", &config.engine.listen},
                             {"brain.listen", &config.brain.listen},
                             {"ingress.listen", &config.ingress.listen},
                             {"uplink.listen", &config.uplink.listen},
                             {"resolver.listen", &config.resolver.listen},
                             {"orchestrator.webhook_listen", &config.orchestrator.webhook_listen},
                             {"orchestrator.listen", &config.orchestrator.listen}}) {
    bool may_be_nowhere =
        listen == &config.orchestrator.listen || listen == &config.resolver.listen;
    if (listen->empty() && may_be_nowhere) continue;
    TRY_DO(net::Address::parse(*listen), key);
  }
  TRY_DO(check_domain(config.ingress.domain));
  TRY_DO(check_certificate(config.ingress));
  if (config.engine.default_network != "internet" && config.engine.default_network != "none")
    return Error{Code::invalid, str("engine.default_network: '", config.engine.default_network,
                                    "' is not internet or none")};
  for (const auto& server : config.resolver.servers)
    TRY_DO(net::Address::parse(server), "resolver.servers");
  TRY_DO(check_url("brain.model_url", config.brain.model_url));
  if (!config.orchestrator.brain_url.empty())
    TRY_DO(check_url("orchestrator.brain_url", config.orchestrator.brain_url));
  const std::string& runner = config.orchestrator.runner;
  if (!runner.empty() && runner != "outside" && runner != "inside")
    return Error{Code::invalid, str("orchestrator.runner: '", config.orchestrator.runner,
                                    "' is neither outside nor inside")};
  if (config.orchestrator.mode != "poll" && config.orchestrator.mode != "webhook-sandbox")
    return Error{Code::invalid, str("orchestrator.mode: '", config.orchestrator.mode,
                                    "' is neither poll nor webhook-sandbox")};
  for (const std::string& one : config.orchestrator.session_directories)
    if (one.find("=/") == one.npos || one.find('=') == 0 || one.find('=') != one.find("=/"))
      return Error{Code::invalid,
                   str("orchestrator.session_directories: '", one, "' is not NAME=/path")};
  if (config.orchestrator.pool_min > config.orchestrator.pool_max)
    return Error{Code::invalid, str("orchestrator.pool_min: ", config.orchestrator.pool_min,
                                    " is more than orchestrator.pool_max, which is ",
                                    config.orchestrator.pool_max)};
  if (!wire::valid_name(config.orchestrator.webhook_sandbox_name))
    return Error{Code::invalid,
                 str("orchestrator.webhook_sandbox_name: '",
                     config.orchestrator.webhook_sandbox_name, "' is no name of a sandbox")};
  if (config.brain.default_model.empty())
    return Error{Code::invalid, "brain.default_model: must name a model"};
  for (auto level :
       {log::Level::debug, log::Level::info, log::Level::warn, log::Level::error, log::Level::off})
    if (config.log == log::name(level)) return ok;
  return Error{Code::invalid,
               str("log: '", config.log, "' is not debug, info, warn, error or off")};
}

Result<void> set_number(Config& config, const Setting& setting, const Number& number,
                        std::int64_t value) {
  if (value < number.least || value > number.most)
    return Error{Code::invalid, str(setting.key, ": ", value, " is not between ", number.least,
                                    " and ", number.most)};
  number.at(config) = value;
  return ok;
}

Error wrong_type(const Setting& setting) {
  constexpr const char* kWanted[] = {"a text in quotes", "a list of texts", "a whole number",
                                     "true or false"};
  return Error{Code::invalid, str(setting.key, " must be ", kWanted[setting.place.index()])};
}

Result<void> set_toml(Config& config, const Setting& setting, const toml::node& node) {
  if (auto* text = std::get_if<Text>(&setting.place)) {
    auto value = node.value_exact<std::string>();
    if (!value) return wrong_type(setting);
    (*text)(config) = *value;
  } else if (auto* list = std::get_if<List>(&setting.place)) {
    const toml::array* array = node.as_array();
    if (!array) return wrong_type(setting);
    std::vector<std::string> values;
    for (const toml::node& item : *array) {
      auto value = item.value_exact<std::string>();
      if (!value) return wrong_type(setting);
      values.push_back(*value);
    }
    (*list)(config) = std::move(values);
  } else if (auto* flag = std::get_if<Flag>(&setting.place)) {
    auto value = node.value_exact<bool>();
    if (!value) return wrong_type(setting);
    (*flag)(config) = *value;
  } else {
    auto value = node.value_exact<std::int64_t>();
    if (!value) return wrong_type(setting);
    return set_number(config, setting, std::get<Number>(setting.place), *value);
  }
  return ok;
}

std::optional<bool> truth(std::string_view text) {
  std::string word = lower(trim(text));
  for (const char* yes : {"1", "true", "yes", "on"})
    if (word == yes) return true;
  for (const char* no : {"0", "false", "no", "off"})
    if (word == no) return false;
  return std::nullopt;
}

Result<void> set_text(Config& config, const Setting& setting, const std::string& value) {
  if (auto* text = std::get_if<Text>(&setting.place)) {
    (*text)(config) = value;
  } else if (auto* list = std::get_if<List>(&setting.place)) {
    std::vector<std::string> values;
    for (const std::string& item : split(value, ','))
      if (!trim(item).empty()) values.emplace_back(trim(item));
    (*list)(config) = std::move(values);
  } else if (auto* flag = std::get_if<Flag>(&setting.place)) {
    auto said = truth(value);
    if (!said) return wrong_type(setting);
    (*flag)(config) = *said;
  } else {
    auto number = parse_int<std::int64_t>(value);
    if (!number) return wrong_type(setting);
    return set_number(config, setting, std::get<Number>(setting.place), *number);
  }
  return ok;
}

std::string text_of(Config& config, const Setting& setting) {
  if (auto* text = std::get_if<Text>(&setting.place)) return (*text)(config);
  if (auto* number = std::get_if<Number>(&setting.place)) return str(number->at(config));
  if (auto* flag = std::get_if<Flag>(&setting.place)) return str((*flag)(config));
  std::string out;
  for (const std::string& item : std::get<List>(setting.place)(config))
    out += str(out.empty() ? "" : ",", item);
  return out;
}

Error unknown_key(const std::string& key) {
  std::vector<std::string> known;
  for (const Setting& setting : kSettings) known.emplace_back(setting.key);
  return Error{Code::invalid,
               str("there is no setting '", key, "'", cli::did_you_mean(key, known))};
}

// Also the place in the file: people edit it by hand.
Error at(const std::string& file, const toml::source_region& where, Error error) {
  return std::move(error).with(str(file, ":", where.begin.line));
}

Result<std::optional<std::pair<std::string, std::string>>> read_config_file(
    const cli::Context& context) {
  auto named = context.config ? context.config : context.variable("GLOVEBOX_CONFIG");
  std::string file = named.value_or(std::string(kDefaultFile));
  auto text = sys::read_file(file, kFileLimit);
  if (text) return std::optional(std::pair{file, std::move(*text)});
  if (!named && text.error().code == Code::not_found)
    return std::optional<std::pair<std::string, std::string>>{};
  return std::move(text.error()).with("configuration");
}

}  // namespace

Result<void> apply_toml(Config& config, const std::string& text, const std::string& file) {
  try {
    toml::table root = toml::parse(text, file);
    for (const auto& [key, node] : root) {
      const toml::table* section = node.as_table();
      if (!section) {
        const Setting* setting = find(key.str());
        if (!setting) return at(file, node.source(), unknown_key(std::string(key.str())));
        auto set = set_toml(config, *setting, node);
        if (!set) return at(file, node.source(), std::move(set.error()));
        continue;
      }
      for (const auto& [inner, value] : *section) {
        std::string full = str(key.str(), '.', inner.str());
        const Setting* setting = find(full);
        if (!setting) return at(file, value.source(), unknown_key(full));
        auto set = set_toml(config, *setting, value);
        if (!set) return at(file, value.source(), std::move(set.error()));
      }
      // An empty section hides a misspelt name.
      bool known = false;
      for (const Setting& setting : kSettings)
        known |= setting.section() == key.str() && !setting.section().empty();
      if (!known) return at(file, node.source(), unknown_key(std::string(key.str())));
    }
  } catch (const toml::parse_error& error) {
    return Error{Code::invalid,
                 str(file, ":", error.source().begin.line, ": ", error.description())};
  }
  auto sound = check(config);
  if (!sound) return std::move(sound.error()).with(file);
  return ok;
}

Result<void> apply_environment(Config& config, const cli::Environment& env) {
  for (const Setting& setting : kSettings)
    for (const std::string& name : {std::string(setting.also), setting.variable()}) {
      auto found = env.find(name);
      if (found == env.end() || found->second.empty()) continue;
      TRY_DO(set_text(config, setting, found->second), name);
    }
  return check(config);
}

// The ingress, which strangers talk to, can write that file: it speaks for its own names alone.
std::string ingress_certificate(const Config& config) {
  return net::AlsoTrust{.file = config.state + "/ingress/ca.pem", .domain = config.ingress.domain}
      .text();
}

// Kubernetes tells every pod where a Service called "glovebox" is, and Docker where a linked
// container is, in variables that look like ours; nobody has set them.
static bool is_of_a_service(const std::string& name, const std::string& value) {
  if (name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT")) return true;
  auto port = name.find("_PORT");
  if (port == name.npos) return false;
  std::string_view rest = std::string_view(name).substr(port + 5);
  return rest.empty() ? value.contains("://")
                      : rest.size() > 1 && rest[0] == '_' && '0' <= rest[1] && rest[1] <= '9';
}

std::vector<std::string> unknown_variables(const cli::Environment& env) {
  std::vector<std::string> known;  // without what all of them begin with, which tells none apart
  for (const Setting& setting : kSettings) known.push_back(setting.variable().substr(kOurs.size()));
  for (const OtherVariable& other : kOthers) known.emplace_back(other.name.substr(kOurs.size()));
  std::vector<std::string> out;
  for (const auto& [name, value] : env) {
    if (!name.starts_with(kOurs) || name.starts_with(kOfTests)) continue;
    if (value.empty() || is_of_a_service(name, value)) continue;
    const std::string own = name.substr(kOurs.size());
    if (std::ranges::find(known, own) != known.end()) continue;
    const std::string near = cli::nearest(own, known);
    out.push_back(str(name, " means nothing here",
                      near.empty() ? "" : str("; did you mean ", kOurs, near, "?")));
  }
  return out;
}

Result<Config> load_config(const cli::Context& context) {
  for (const std::string& unknown : unknown_variables(context.env))
    context.note("glovebox: warning: " + cli::printable(unknown) +
                 " ('glovebox settings' lists what does)");
  Config config;
  TRY(file, read_config_file(context));
  if (file) TRY_DO(apply_toml(config, file->second, file->first));
  TRY_DO(apply_environment(config, context.env), "environment");
  if (context.state) {
    config.state = *context.state;
    // People name it from where they stand.
    if (!config.state.starts_with('/')) {
      char here[4096];
      if (!::getcwd(here, sizeof here)) return sys_error("current directory");
      config.state = str(here, '/', config.state);
    }
  }
  TRY_DO(check(config));
  if (config.orchestrator.sandbox_timeout_seconds > config.engine.max_timeout_secs)
    return Error{Code::invalid, str("orchestrator.sandbox_timeout_seconds: the engine refuses ",
                                    "more than engine.max_timeout_secs, which is ",
                                    config.engine.max_timeout_secs)};
  return config;
}

Result<Config> config_of_environment(const cli::Environment& env) {
  Config config;
  TRY_DO(apply_environment(config, env));
  return config;
}

std::vector<std::string> exported(const Config& config, std::string_view section) {
  Config copy = config;
  std::vector<std::string> out;
  for (const Setting& setting : kSettings)
    if (section.empty() || setting.section().empty() || setting.section() == section)
      out.push_back(str(setting.variable(), '=', text_of(copy, setting)));
  return out;
}

std::vector<ShownSetting> shown(const Config& config) {
  Config copy = config, usual;
  std::vector<ShownSetting> out;
  for (const Setting& setting : kSettings)
    out.push_back({std::string(setting.key), text_of(copy, setting), text_of(usual, setting),
                   setting.variable()});
  return out;
}

std::vector<ShownSetting> other_variables(const cli::Environment& env) {
  std::vector<ShownSetting> out;
  for (const OtherVariable& other : kOthers) {
    if (other.who == For::tests) continue;
    auto found = env.find(other.name);
    std::string value = found == env.end() ? "" : found->second;
    if (other.who == For::secret && !value.empty()) value = "(set)";
    out.push_back({"", std::move(value), "", std::string(other.name)});
  }
  return out;
}

Result<std::optional<std::string>> configured_state(const cli::Context& context) {
  auto file = read_config_file(context);
  // Who may not read the file can still be a client.
  if (!file && file.error().code == Code::forbidden) return std::optional<std::string>{};
  if (!file) return std::move(file.error());
  if (!*file) return std::optional<std::string>{};
  Config config;
  TRY_DO(apply_toml(config, (*file)->second, (*file)->first));
  return std::optional(config.state);
}

}  // namespace glovebox::app

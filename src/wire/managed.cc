#include <algorithm>
#include <iterator>

#include "wire/managed_json.h"

namespace glovebox::wire {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxName = 255;
constexpr std::size_t kMaxPath = 2048;
constexpr std::int64_t kMaxRestarts = 1'000'000;
constexpr std::int64_t kMaxMillis = 24 * 3600 * 1000;
constexpr std::int64_t kMaxThreshold = 1000;
// A program that ends at once must not be started hundreds of times a second.
constexpr std::int64_t kLeastBackoffMs = 10;

constexpr std::string_view kPolicies[] = {"never", "on_failure", "always"};
constexpr std::string_view kStatuses[] = {"starting", "running", "backing_off", "stopped"};
constexpr std::string_view kHealths[] = {"disabled", "starting", "healthy", "unhealthy"};

Result<Restart> decode_restart(Members& members) {
  Restart restart;
  TRY(policy, members.text("policy", 32));
  if (policy) {
    auto at = std::ranges::find(kPolicies, *policy);
    if (at == std::end(kPolicies))
      return members.wrong("policy", "must be never, on_failure or always");
    restart.policy = static_cast<RestartPolicy>(at - std::begin(kPolicies));
  }
  TRY(most, members.integer("max_restarts", 0, kMaxRestarts));
  TRY(initial, members.integer("initial_backoff_ms", 0, kMaxMillis));
  TRY(longest, members.integer("max_backoff_ms", 0, kMaxMillis));
  members.done();
  restart.max_restarts = most;
  restart.initial_backoff_ms = std::max(initial.value_or(500), kLeastBackoffMs);
  restart.max_backoff_ms = std::max(longest.value_or(30'000), restart.initial_backoff_ms);
  return restart;
}

Result<HealthCheck> decode_health_check(Members& members) {
  HealthCheck check;
  TRY(type, members.text("type", 16));
  if (!type || (*type != "http" && *type != "tcp"))
    return members.wrong("type", "must be http or tcp");
  check.http = *type == "http";
  TRY(port, members.integer("port", 1, 65535));
  if (!port) return members.wrong("port", "is missing");
  check.port = static_cast<int>(*port);
  TRY(path, members.text("path", kMaxPath));
  if (path && !path->empty()) {
    auto plain = [](unsigned char c) { return c > ' ' && c < 127; };
    if (!std::ranges::all_of(*path, plain))
      return members.wrong("path", "must be printable, without spaces");
    check.path = path->starts_with('/') ? *path : '/' + *path;
  }
  TRY(delay, members.integer("initial_delay_ms", 0, kMaxMillis));
  TRY(interval, members.integer("interval_ms", 1, kMaxMillis));
  TRY(timeout, members.integer("timeout_ms", 1, kMaxMillis));
  TRY(threshold, members.integer("failure_threshold", 1, kMaxThreshold));
  members.done();
  check.initial_delay_ms = delay.value_or(check.initial_delay_ms);
  check.interval_ms = interval.value_or(check.interval_ms);
  check.timeout_ms = timeout.value_or(check.timeout_ms);
  check.failure_threshold = threshold.value_or(check.failure_threshold);
  return check;
}

json::object restart_json(const Restart& restart) {
  json::object out{{"policy", name(restart.policy)},
                   {"initial_backoff_ms", restart.initial_backoff_ms},
                   {"max_backoff_ms", restart.max_backoff_ms}};
  if (restart.max_restarts) out["max_restarts"] = *restart.max_restarts;
  return out;
}

json::object health_check_json(const HealthCheck& check) {
  json::object out{{"type", check.http ? "http" : "tcp"},
                   {"port", check.port},
                   {"initial_delay_ms", check.initial_delay_ms},
                   {"interval_ms", check.interval_ms},
                   {"timeout_ms", check.timeout_ms},
                   {"failure_threshold", check.failure_threshold}};
  if (check.http) out["path"] = check.path;
  return out;
}

json::object exit_json(const ProcessInfo& info) {
  json::object out{{"oom_killed", info.status == Status::oom_killed}, {"ended_at", info.ended_ms}};
  if (info.status == Status::exited)
    out["exit_code"] = info.exit_code;
  else
    out["signal"] = info.signal;
  return out;
}

}  // namespace

std::string_view name(RestartPolicy policy) { return kPolicies[static_cast<int>(policy)]; }
std::string_view name(ManagedStatus status) { return kStatuses[static_cast<int>(status)]; }
std::string_view name(Health health) { return kHealths[static_cast<int>(health)]; }

bool valid_managed_name(std::string_view name) {
  auto digit = [](char c) { return c >= '0' && c <= '9'; };
  auto control = [](unsigned char c) { return c < ' ' || c == 127; };
  return !name.empty() && name.size() <= kMaxName && name.find('/') == name.npos && name != "." &&
         name != ".." && name != "run" && !std::ranges::all_of(name, digit) &&
         std::ranges::none_of(name, control);
}

Result<std::optional<ManagedSpec>> take_managed(Members& members) {
  ManagedSpec spec;
  TRY(name, members.text("name", kMaxName));
  if (name && !valid_managed_name(*name))
    return members.wrong("name",
                         "must not be empty, hold a slash or control characters, or be all digits");
  TRY(restart, members.object("restart"));
  TRY(health_check, members.object("health_check"));
  if (!name && !restart && !health_check) return std::nullopt;
  spec.name = name.value_or("");
  if (restart) {
    TRY(decoded, decode_restart(*restart));
    spec.restart = decoded;
  }
  if (health_check) {
    TRY(decoded, decode_health_check(*health_check));
    spec.health_check = std::move(decoded);
  }
  return spec;
}

json::object managed_json(const Managed& managed) {
  json::object out{{"id", managed.id},
                   {"status", name(managed.status)},
                   {"restart_count", managed.restart_count},
                   {"restart", restart_json(managed.spec.restart)},
                   {"health_status", name(managed.health)},
                   {"consecutive_health_failures", managed.consecutive_health_failures}};
  if (!managed.spec.name.empty()) out["name"] = managed.spec.name;
  if (managed.spec.health_check)
    out["health_check"] = health_check_json(*managed.spec.health_check);
  if (managed.last_exit) out["last_exit"] = exit_json(*managed.last_exit);
  if (!managed.last_error.empty()) out["last_error"] = valid_utf8(managed.last_error);
  if (managed.next_restart_at) out["next_restart_at"] = managed.next_restart_at;
  return out;
}

}  // namespace glovebox::wire

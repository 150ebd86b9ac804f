// Managed processes as the API shows them: programs that are kept running, with a policy of
// restarts and a check of their health.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "wire/hand.h"

namespace glovebox::wire {

enum class RestartPolicy { never, on_failure, always };
std::string_view name(RestartPolicy policy);

struct Restart {
  RestartPolicy policy = RestartPolicy::on_failure;
  std::optional<std::int64_t> max_restarts;  // absent: any number
  std::int64_t initial_backoff_ms = 500, max_backoff_ms = 30'000;
};

struct HealthCheck {
  bool http = false;  // else only that the port takes a connection
  int port = 0;
  std::string path = "/";  // of http: healthy is an answer of 200 to 399
  std::int64_t initial_delay_ms = 5'000, interval_ms = 1'000, timeout_ms = 500;
  std::int64_t failure_threshold = 3;
};

struct ManagedSpec {
  std::string name;  // empty: addressed by pid alone
  Restart restart;
  std::optional<HealthCheck> health_check;
};
enum class ManagedStatus { starting, running, backing_off, stopped };
enum class Health { disabled, starting, healthy, unhealthy };
std::string_view name(ManagedStatus status);
std::string_view name(Health health);

struct Managed {
  std::string id;  // the name, or one made up
  ManagedSpec spec;
  ManagedStatus status = ManagedStatus::starting;
  std::int64_t restart_count = 0;
  Health health = Health::disabled;
  std::int64_t consecutive_health_failures = 0;
  std::optional<ProcessInfo> last_exit;
  std::string last_error;
  std::int64_t next_restart_at = 0;  // unix ms; 0: none is due
};

// A name is one segment of a path, and no pid.
bool valid_managed_name(std::string_view name);

}  // namespace glovebox::wire

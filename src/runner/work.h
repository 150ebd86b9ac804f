// What the work queue says: items, leases, and the token inside an item's secret. Bytes from the
// service are foreign: whatever they are, the answer is a value or an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/secret.h"
#include "wire/agents.h"

namespace glovebox::runner {

struct Work {
  std::string id, environment_id;
  std::string kind;        // of its data: "session", "healthcheck", or what comes later
  std::string session_id;  // of a session item
  std::string state;
  Secret token;  // the sessions token inside `secret`; empty: none, or none that can be read
  Secret json;   // the whole object as it came, secret and all: for a program that takes it over
};
// An empty body, `null` and an item without an id are all "nothing to do".
Result<std::optional<Work>> decode_work(std::string_view json);

using wire::sessions_token;

struct Beat {
  bool accepted =
      true;  // false: another value was expected (412); the rest is how the lease is now
  bool repeated = false;  // an attempt before this one may have counted though nobody heard so
  std::string last_heartbeat;
  std::string state;
  bool lease_extended = false;
  std::int64_t ttl_seconds = 0;
};
Result<Beat> decode_beat(std::string_view json);
Beat decode_refused_beat(std::string_view json);  // the body of a 412; empty where it says nothing

}  // namespace glovebox::runner

// What one box may do at the service: one session's endpoints and one work item's, with a
// credential it never sees. Made by the orchestrator, which is asked for nothing but JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/secret.h"
#include "http/message.h"

namespace glovebox::gateway {

struct Grant {
  std::string environment, work, session;
  std::string service_url;
  http::Headers headers;            // of every request to the service: the operator's
  Secret credential;                // the item's token, or the environment's key where it has none
  std::vector<std::string> skills;  // ids of the session's own agent
  struct Store {
    std::string id;
    bool read_only = false;
  };
  std::vector<Store> stores;  // attached to the session

  const Store* store(std::string_view id) const;
  bool has_skill(std::string_view id) const;
};

// {"environment_id", "work_id", "session_id", "service_url", "headers": LINES, "credential",
// "skills": [ID…], "memory_stores": [{"id", "read_only"}…]}; `headers` may be missing. Our own API:
// a member nobody knows is refused.
Result<Grant> decode_grant(std::string_view json);

// Letters, digits, '_', '-', '.'; 1 to 128; neither "." nor "..": what needs no quoting anywhere.
bool plain_id(std::string_view text);

}  // namespace glovebox::gateway

// What a box's request becomes at the service. Nothing of it is passed on: an endpoint from the
// list, the ids of the grant, arguments that were understood and are written anew, headers of our
// own. What is not on the list does not exist.
//
// Pure: no socket, no state. uplink_rules_test.cc is the table of what is refused.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "gateway/uplink_grant.h"
#include "http/message.h"

namespace glovebox::gateway {

enum class Endpoint {
  session,
  history,
  answer,  // results of tool calls, and nothing else that a client of the session could say
  stream,
  heartbeat,
  stop,
  skill,
  skill_content,
  memories,
  new_memory,
  memory,
  change_memory,
  remove_memory,
};

struct Rule {
  Endpoint endpoint;
  std::string_view method, pattern;
  std::size_t body_limit = 0;
};
std::span<const Rule> rules();
inline constexpr std::size_t kLargestAnswer = 16 << 20;

struct Outgoing {
  std::string method, target, body;
  http::Headers headers;  // without the credential
};

// Code::not_found: nothing this box was granted, whether it exists or not. Code::invalid: not
// understood. Code::forbidden: granted for reading only.
Result<Outgoing> outgoing(const Grant& grant, Endpoint endpoint, const http::Request& request);

}  // namespace glovebox::gateway

// Pieces of a box's request that are passed on: each is one of a list, or it is not passed on. What
// uplink_rules.h (a worker inside) and steward_rules.h (a steward) have in common.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/message.h"

namespace glovebox::gateway {

struct Argument {
  std::string_view name;
  bool (*good)(std::string_view);
};
bool is_number(std::string_view text);  // up to four digits
bool is_token(std::string_view text);   // cursors, heartbeats: opaque, and one word

// "?name=value&…" of those that are known, in the order of the list. Code::invalid for others, for
// one that is given twice, and for one that is not good.
Result<std::string> query_of(std::span<const Argument> known, std::string_view raw);

// What every request of ours to the service has, but for what the box may choose: of its
// `anthropic-version`, `anthropic-beta` and `x-stainless-helper` the words that are known, or else
// these. Without the credential.
struct Otherwise {
  std::string_view accept = "application/json", beta, helper;
};
http::Headers service_headers(const http::Headers& of_operator, const http::Request& request,
                              Otherwise otherwise, bool with_body);

inline constexpr std::string_view kAgentsBeta = "managed-agents-2026-04-01",
                                  kMemoryBeta = "agent-memory-2026-07-22";
inline constexpr std::string_view kWorkerHelper = "environments-worker",
                                  kPollerHelper = "environments-work-poller";

}  // namespace glovebox::gateway

// Ports that ask for `verify = standard-webhooks`: only deliveries signed with the port's secret
// come in, each once, and nothing wakes for any other. The box behind needs no secret.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/secret.h"
#include "gateway/replay_memory.h"
#include "http/message.h"

namespace glovebox::gateway {

inline constexpr std::string_view kStandardWebhooks = "standard-webhooks";

class WebhookGate {
 public:
  // What was let in stands in `path`, so that a restart is no way in.
  static Result<WebhookGate> open(std::string path, Clock& clock = system_clock());

  using Ticket = ReplayMemory::Key;
  // `port` names the port of one sandbox: what was signed for another with the same secret is
  // something else. Code::unauthenticated, without saying more than its sender may know; of a
  // delivery that was let in before Code::conflict with the tag WEBHOOK_REPLAYED.
  Result<Ticket> admit(std::string_view port, std::span<const Secret> secrets,
                       const http::Headers& headers, std::string_view body);
  // The box did not take it: the very same may come again.
  void refused(const Ticket& ticket) { memory_.forget(ticket); }

 private:
  WebhookGate(ReplayMemory memory, Clock& clock) : memory_(std::move(memory)), clock_(&clock) {}
  ReplayMemory memory_;
  Clock* clock_;
};

}  // namespace glovebox::gateway

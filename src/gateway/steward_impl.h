// What the steward's files share. Only for them.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "gateway/steward.h"
#include "gateway/uplink_impl.h"
#include "http/client.h"

namespace glovebox::gateway {

struct Steward {
  Steward(net::Loop& loop, StewardOptions given, StewardKeys told, StewardRecords known,
          http::Url service_url, http::Url engine_url);
  const StewardOptions options;
  const StewardKeys keys;
  StewardRecords records;
  Stewardship may;       // with its environment, once that is known
  bool is_ours = false;  // the service: then it told the environment
  http::Client service, engine;
  Pace pace, refusals;
  std::uint64_t refused = 0;
  // Taken from the queue while it slept: the next it is offered.
  std::optional<Offered> in_hand{};
  Steady::time_point in_hand_since{};
};

inline bool knows_its_queue(const Steward& steward) { return !steward.may.environment.empty(); }

// With the side's key. Code::unavailable where nobody answers.
Task<http::ClientResponse> ask(std::shared_ptr<Steward> steward, Side side, Outgoing out);
Task<http::StreamResponse> open(std::shared_ptr<Steward> steward, Side side, Outgoing out);
// Asks the queue, and keeps what it offered out of what the box hears.
Task<http::ClientResponse> poll_queue(std::shared_ptr<Steward> steward, http::Request request,
                                      std::optional<Offered>* offered);

// steward_serve.cc
std::unique_ptr<http::Server> serve_steward(const std::shared_ptr<Uplink::Impl>& impl,
                                            const std::shared_ptr<DoorLink>& door);
// steward_keep.cc
Task<void> keep_steward(std::weak_ptr<Uplink::Impl> impl);

}  // namespace glovebox::gateway

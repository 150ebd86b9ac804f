// Heads as the ingress passes them on: written anew from what was understood, without what is
// between one connection and the next. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "http/message.h"
#include "http/parser.h"

namespace glovebox::gateway {

// How the body after a head is marked off.
struct BodyFraming {
  std::optional<std::uint64_t> length;
  bool chunked = false;
};

struct ForwardedFrom {
  std::string address;  // without its port
  bool secure = false;
  std::string host;  // as the client said it
};

// Connection and whatever it names, and their like. `Upgrade`, too.
void drop_hop_by_hop(http::Headers& headers);
// What clients say of where they come from is theirs to say, not ours to repeat. Also where it is
// spelled with underscores: many a server takes those for hyphens.
void drop_foreign(http::Headers& headers);
// What names a sandbox.
void drop_routing(http::Headers& headers);

// `websocket`: the connection is to become one.
std::string onward_head(const http::Request& request, const std::string& host,
                        const ForwardedFrom& from, const BodyFraming& framing, bool websocket);
// Of the answer that makes it one.
std::string switching_head(const http::Headers& answer, std::string_view request_id);

bool asks_for_websocket(const http::Request& request);
// No answer changes anything twice if it is asked for twice.
bool may_repeat(std::string_view method);

}  // namespace glovebox::gateway

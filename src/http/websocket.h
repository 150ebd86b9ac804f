// WebSocket on both sides, over any net::Stream.
#pragma once

#include "http/message.h"
#include "net/stream.h"

namespace glovebox::http {

constexpr std::size_t kWebSocketMessageLimit = 1 << 20;

bool is_websocket_handshake(std::string_view method, int minor_version, const Headers& headers);

// Answers the handshake of `request` (with the headers of `extra`). `early`: bytes that came behind
// the request.
Task<std::unique_ptr<WebSocket>> accept_websocket(std::shared_ptr<net::Stream> stream,
                                                  std::string early, Headers request,
                                                  Headers extra);
Task<std::unique_ptr<WebSocket>> request_websocket(std::shared_ptr<net::Stream> stream,
                                                   std::string host, std::string target,
                                                   Headers extra, Millis limit);

}  // namespace glovebox::http

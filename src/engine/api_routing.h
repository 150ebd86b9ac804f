// What is decided about a request before its route: which sandbox it means, and whether it may.
#pragma once

#include "engine/api.h"

namespace glovebox::engine {

// A sandbox is named by header, by Host, or by the path itself ("/s/{sbx}/api/v1/…"): afterwards it
// is the path.
Result<void> name_sandbox_in_path(http::Request& request);

// The key, where one is set; /healthz needs none, /metrics takes its own as well.
Result<void> check_key(const ApiKeys& keys, const http::Request& request);

// A terminal's WebSocket, after name_sandbox_in_path(): its session's token does instead of the
// key.
bool is_pty_socket(const http::Request& request);

}  // namespace glovebox::engine

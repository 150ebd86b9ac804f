// From a parsed head to a Request: the target taken apart, the host checked. No socket needed.
#pragma once

#include "http/parser.h"

namespace glovebox::http {

// Moves method and headers out of `parser`.
Parsed<Request> make_request(Parser& parser);

// Host and Origin against the names we answer to (ServerOptions::allowed_hosts).
Parsed<void> check_host(const Request& request, const std::vector<std::string>& allowed);

}  // namespace glovebox::http

// The platform's names for images: "sandbox templates", and builds of them, as the official clients
// do them: they make a builder sandbox of an image that we name, put the context into it, run a
// command that we name, and read what it says. Our builder only waits: the engine takes the context
// out of it, builds (image_build.cc), and puts the result back.
#pragma once

#include <vector>

#include "http/server.h"

namespace glovebox::engine {

struct ApiState;
std::vector<http::Route> template_routes(ApiState& api);

}  // namespace glovebox::engine

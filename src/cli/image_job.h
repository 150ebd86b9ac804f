// A pull or a build, followed: what it says goes to stderr, what came of it is given back.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

#include "cli/engine_client.h"
#include "cli/output.h"

namespace glovebox::cli {

Result<boost::json::object> follow_image_job(EngineClient& engine, const std::string& path,
                                             std::string body, Output& out);

}  // namespace glovebox::cli

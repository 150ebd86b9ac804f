// --cpus, --memory and --disk of what has resources.
#pragma once

#include "cli/args.h"

namespace boost::json {
class object;
}  // namespace boost::json

namespace glovebox::cli {

// What is not said is not in it: the engine has the defaults.
Result<boost::json::object> resource_options(Args& args);

}  // namespace glovebox::cli

// --network, --allow and --deny, as `sandbox create` and `sandbox network` have them.
#pragma once

#include <optional>

#include "cli/args.h"

namespace boost::json {
class object;
}

namespace glovebox::cli {

// The API's `network` object; nothing where none of them was given.
Result<std::optional<boost::json::object>> network_options(const Args& args);

}  // namespace glovebox::cli

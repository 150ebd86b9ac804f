// What a pool is made of, from the command line.
#pragma once

#include "cli/args.h"

namespace boost::json {
class object;
}  // namespace boost::json

namespace glovebox::cli {

constexpr std::int64_t kMostContainers = 100'000;

// Puts what was said over what `body` has.
Result<void> pool_options(Args& args, boost::json::object& body);

}  // namespace glovebox::cli

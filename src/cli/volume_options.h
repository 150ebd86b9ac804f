// Volumes on the command line: VOLUME:/PATH or VOLUME:/PATH:ro.
#pragma once

#include <string_view>

#include "cli/args.h"

namespace boost::json {
class array;
class object;
}  // namespace boost::json

namespace glovebox::cli {

// An entry of the API's `file_systems`; `where` names the argument in what is said of a bad one.
Result<boost::json::object> volume_of(std::string_view where, std::string_view text);
Result<boost::json::array> volume_options(const Args& args);  // of every --volume

}  // namespace glovebox::cli

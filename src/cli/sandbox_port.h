// What the subcommands about ports share.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <vector>

#include "base/error.h"

namespace glovebox::cli {

Result<int> port_number(const std::string& text);
// Of a sandbox's record.
std::vector<int> exposed_ports(const boost::json::object& record);
std::string port_label(const boost::json::object& record, std::string_view port);  // "8080-web"

}  // namespace glovebox::cli

#include "cli/network_options.h"

#include <boost/json.hpp>

namespace glovebox::cli {

namespace json = boost::json;

Result<std::optional<json::object>> network_options(const Args& args) {
  auto kind = args.option("--network");
  auto allow = args.options("--allow"), deny = args.options("--deny");
  if (!kind && allow.empty() && deny.empty()) return std::nullopt;
  if (kind && *kind != "internet" && *kind != "none")
    return usage_error(str("--network: '", *kind, "' is not internet or none"));
  return json::object{{"allow_internet_access", !kind || *kind == "internet"},
                      {"allow_out", json::array(allow.begin(), allow.end())},
                      {"deny_out", json::array(deny.begin(), deny.end())}};
}

}  // namespace glovebox::cli

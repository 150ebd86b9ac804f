#include "cli/pool_options.h"

#include <boost/json.hpp>

#include "cli/resource_options.h"

namespace glovebox::cli {

namespace json = boost::json;

Result<void> pool_options(Args& args, json::object& body) {
  TRY(resources, resource_options(args));
  if (!body.contains("resources")) body["resources"] = json::object();
  json::object& all = body["resources"].as_object();
  for (auto& [key, value] : resources) {
    // Both words are served; of one pool only one is said.
    if (key == "disk_mb") all.erase("ephemeral_disk_mb");
    all[key] = value;
  }
  for (auto [option, member] :
       {std::pair{"--warm", "warm_containers"}, {"--max", "max_containers"}})
    if (args.option(option)) {
      TRY(number, args.number(option, 0, kMostContainers, 0));
      body[member] = number;
    }
  if (args.option("--timeout")) {
    TRY(timeout, args.duration("--timeout", Millis(0)));
    body["timeout_secs"] = std::chrono::ceil<Seconds>(timeout).count();
  }
  if (!args.rest().empty())
    body["entrypoint"] = json::array(args.rest().begin(), args.rest().end());
  return ok;
}

}  // namespace glovebox::cli

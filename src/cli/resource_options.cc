#include "cli/resource_options.h"

#include <boost/json.hpp>
#include <charconv>

namespace glovebox::cli {

Result<boost::json::object> resource_options(Args& args) {
  boost::json::object resources;
  if (auto text = args.option("--cpus")) {
    double cpus = 0;
    auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), cpus);
    if (error != std::errc{} || end != text->data() + text->size() || !(cpus > 0 && cpus < 1e6))
      return usage_error(str("--cpus: '", *text, "' is not a number such as 1 or 0.5"));
    resources["cpus"] = cpus;
  }
  for (auto [option, member] : {std::pair{"--memory", "memory_mb"}, {"--disk", "disk_mb"}})
    if (auto text = args.option(option)) {
      TRY(mebibytes, parse_mebibytes(*text), option);
      resources[member] = mebibytes;
    }
  return resources;
}

}  // namespace glovebox::cli

#include "app/parts.h"

#include <algorithm>
#include <cstdlib>

#include "cli/suggest.h"

namespace glovebox::app {

std::span<const PartSpec> all_parts() {
  static const PartSpec kParts[] = {
      {.name = "engine",
       .command = "engine-daemon",
       .user = PartSpec::User::root,  // the only part that touches the kernel
       .keys = {"engine", "metrics"},
       .listen = [](Config& c) -> std::string& { return c.engine.listen; }},
      {.name = "resolver",  // asks this machine's name servers for boxes
       .command = "resolver-daemon",
       .keys = {"metrics"},
       .listen = [](Config& c) -> std::string& { return c.resolver.listen; }},
      {.name = "brain",
       .command = "brain-daemon",
       .keys = {"brain", "environment", "metrics"},
       .optional_keys = {"model"},
       .urls = {"ingress"},
       .listen = [](Config& c) -> std::string& { return c.brain.listen; }},
      {.name = "ingress",  // the only part that strangers reach
       .command = "ingress-daemon",
       .keys = {"metrics"},
       .optional_keys = {"certificate"},
       .urls = {"engine", "brain"},
       .listen = [](Config& c) -> std::string& { return c.ingress.listen; }},
      {.name = "uplink",
       .command = "uplink-daemon",
       .keys = {"uplink", "metrics"},
       .optional_keys = {"environment", "engine", "headers"},
       .steward_keys = {"environment", "engine", "headers"},
       .urls = {"engine", "brain"},
       .listen = [](Config& c) -> std::string& { return c.uplink.listen; }},
      {.name = "orchestrator",
       .command = "orchestrator-daemon",
       .keys = {"environment", "engine", "metrics"},
       .optional_keys = {"uplink", "headers"},
       .urls = {"engine", "brain", "uplink"},
       .listen = [](Config& c) -> std::string& { return c.orchestrator.listen; }},
  };
  return kParts;
}

const PartSpec& part_named(std::string_view name) {
  for (const PartSpec& part : all_parts())
    if (part.name == name) return part;
  std::abort();  // names are ours
}

Result<std::vector<const PartSpec*>> pick_parts(const std::vector<std::string>& names) {
  std::vector<const PartSpec*> out;
  std::vector<std::string> known;
  for (const PartSpec& part : all_parts()) known.push_back(part.name);
  for (const std::string& name : names)
    if (std::ranges::find(known, name) == known.end()) {
      std::string list;
      for (const std::string& part : known) list += str(list.empty() ? "" : ", ", part);
      return cli::usage_error(str("there is no part '", name, "'", cli::did_you_mean(name, known),
                                  " (parts: ", list, ")"));
    }
  for (const PartSpec& part : all_parts())
    if (names.empty() || std::ranges::find(names, part.name) != names.end()) out.push_back(&part);
  return out;
}

bool is_told(const PartSpec& part, std::string_view key, const Config& config) {
  return config.orchestrator.steward() ||
         std::ranges::find(part.steward_keys, key) == part.steward_keys.end();
}

bool takes_work(const PartSpec& part, const Config& config) {
  return part.name == (config.orchestrator.steward() ? "uplink" : "orchestrator");
}

std::vector<std::string> part_environment(const Config& config, const PartSpec& part,
                                          const cli::Environment& env) {
  std::vector<std::string> out = exported(config, part.name);
  // What the orchestrator would be told, the box is told by it.
  if (takes_work(part, config) && part.name != "orchestrator")
    for (std::string& setting : exported(config, "orchestrator")) out.push_back(std::move(setting));
  out.push_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  out.push_back("LANG=C.UTF-8");
  // What is reached through the ingress answers to names of its domain.
  if (part.name != "ingress") out.push_back("GLOVEBOX_INGRESS_DOMAIN=" + config.ingress.domain);
  // Its pool is of the boxes that the engine makes when it is told no image.
  if (part.name == "orchestrator")
    out.push_back("GLOVEBOX_ENGINE_DEFAULT_IMAGE=" + config.engine.default_image);
  // For tests of crashes: see base/fault.h.
  if (auto fault = env.find("GLOVEBOX_FAULT"); fault != env.end())
    out.push_back("GLOVEBOX_FAULT=" + fault->second);
  return out;
}

}  // namespace glovebox::app

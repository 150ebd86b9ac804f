#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/network_options.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  TRY_DO(args.done());
  TRY(network, network_options(args));
  const bool reset = args.flag("--default");
  if (network && reset) return usage_error("--default goes with none of the others");
  TRY(engine, EngineClient::open(context));
  json::object record;
  if (network || reset) {
    json::object body{{"network", network ? json::value(*network) : json::value(nullptr)}};
    TRY(changed, engine->update(name, json::serialize(body)), "network of ", name);
    record = std::move(changed);
  } else {
    TRY(found, engine->get(name), "show ", name);
    record = std::move(found);
  }
  // No policy of its own: the one sandboxes have by default.
  const json::value* own = record.if_contains("network");
  out.object(own && own->is_object() ? own->get_object()
                                     : json::object{{"allow_internet_access", true},
                                                    {"allow_out", json::array()},
                                                    {"deny_out", json::array()}});
  return 0;
}

const Command kSandboxNetwork{
    .name = "sandbox network",
    .usage =
        "sandbox network NAME [--network=KIND] [--allow=ADDRESS]... [--deny=ADDRESS]... "
        "[--default]",
    .help =
        "Show what a sandbox may reach, or change it while it runs.\n"
        "\n"
        "--network is internet (public addresses, and names) or none. ADDRESS is an address or a "
        "CIDR\n"
        "block: with --allow nothing else may be reached, and with --network=none beside it no "
        "names;\n"
        "--deny is stronger. What is private, this machine included, is only reached where "
        "--allow\n"
        "names it. Connections to where it may not go any more are cut. --default: what sandboxes "
        "have\n"
        "that were made without any of these.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/network_options.h"
#include "cli/resource_options.h"
#include "cli/volume_options.h"

namespace glovebox::cli {

namespace json = boost::json;

// What is not said is not sent: the engine has the defaults.
static Result<json::object> request(Args& args) {
  json::object body;
  if (auto name = args.optional()) body["name"] = *name;
  TRY_DO(args.done());
  if (auto snapshot = args.option("--snapshot")) body["snapshot_id"] = *snapshot;
  if (auto image = args.option("--image")) body["image"] = *image;
  TRY(resources, resource_options(args));
  if (!resources.empty()) body["resources"] = std::move(resources);
  if (args.option("--timeout")) {
    TRY(timeout, args.duration("--timeout", Millis(0)));
    body["timeout_secs"] = std::chrono::ceil<Seconds>(timeout).count();
  }
  if (auto isolation = args.option("--isolation")) body["isolation"] = *isolation;
  TRY(network, network_options(args));
  if (network) body["network"] = std::move(*network);
  TRY(volumes, volume_options(args));
  if (!volumes.empty()) body["file_systems"] = std::move(volumes);
  if (!args.rest().empty())
    body["entrypoint"] = json::array(args.rest().begin(), args.rest().end());
  return body;
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(body, request(args));
  TRY(engine, EngineClient::open(context));
  TRY(created, engine->create(json::serialize(body)), "create");
  out.object(created);
  return 0;
}

const Command kSandboxCreate{
    .name = "sandbox create",
    .usage =
        "sandbox create [NAME] [--image=IMAGE] [--snapshot=SNAPSHOT] [--cpus=N] [--memory=SIZE] "
        "[--disk=SIZE] "
        "[--timeout=TIME] [--isolation=KIND] [--network=KIND] [--allow=ADDRESS]... "
        "[--deny=ADDRESS]... [--volume=VOLUME:/PATH[:ro]]... [-- ENTRYPOINT...]",
    .help =
        "Make a sandbox and wait until it runs.\n"
        "\n"
        "With a NAME it can be called by it, and is suspended rather than ended when idle for "
        "--timeout.\n"
        "With --snapshot its files are those of a snapshot (see 'snapshot ls').\n"
        "SIZE is 512M or 2G, TIME is 90s, 10m or 2h; what is not given has the engine's default.\n"
        "--isolation is namespace: there is no other kind yet.\n"
        "--network, --allow and --deny are explained by 'glovebox help sandbox network'.",
    .run = run};

}  // namespace glovebox::cli

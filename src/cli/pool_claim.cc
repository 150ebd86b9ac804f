#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/volume_options.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(pool, args.positional("POOL"));
  json::object body;
  if (auto name = args.optional()) body["name"] = *name;
  TRY_DO(args.done());
  if (args.option("--timeout")) {
    TRY(timeout, args.duration("--timeout", Millis(0)));
    body["timeout_secs"] = std::chrono::ceil<Seconds>(timeout).count();
  }
  TRY(volumes, volume_options(args));
  if (!volumes.empty()) body["file_systems"] = std::move(volumes);
  TRY(engine, EngineClient::open(context));
  TRY(claimed,
      engine->request("POST", str("/sandbox-pools/", http::encode_path(pool), "/sandboxes"),
                      json::serialize(body)),
      "claim from pool ", pool);
  out.object(claimed);
  return 0;
}

const Command kPoolClaim{
    .name = "pool claim",
    .usage = "pool claim POOL [NAME] [--volume=VOLUME:/PATH[:ro]]... [--timeout=TIME]",
    .help =
        "Take a sandbox from a pool.\n"
        "\n"
        "Where none is ready one is made; where the pool is full it is pending until there is "
        "room.\n"
        "NAME, volumes and --timeout are this sandbox's own; all else is as the pool says.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  TRY_DO(args.done());
  json::object body{{"name", name}};
  if (auto size = args.option("--size")) {
    TRY(mebibytes, parse_mebibytes(*size), "--size");
    body["size_mb"] = mebibytes;
  }
  TRY(engine, EngineClient::open(context));
  TRY(volume, engine->request("POST", "/volumes", json::serialize(body)));
  out.object(volume);
  return 0;
}

const Command kVolumeCreate{
    .name = "volume create",
    .usage = "volume create NAME [--size=SIZE]",
    .help =
        "Make a volume: a directory that outlives sandboxes, and that several may have at once.\n"
        "\n"
        "A sandbox gets it when it is made (sandbox create --volume=NAME:/path[:ro]), when it is\n"
        "claimed (pool claim), or later (volume attach). SIZE limits what is in it (default 10G).",
    .run = run};

}  // namespace glovebox::cli

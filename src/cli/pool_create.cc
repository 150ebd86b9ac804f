#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/pool_options.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(image, args.positional("IMAGE"));
  TRY_DO(args.done());
  json::object body{{"image", image}};
  TRY_DO(pool_options(args, body));
  TRY(engine, EngineClient::open(context));
  TRY(created, engine->request("POST", "/sandbox-pools", json::serialize(body)), "create pool");
  out.object(created);
  return 0;
}

const Command kPoolCreate{
    .name = "pool create",
    .usage =
        "pool create IMAGE [--warm=N] [--max=N] [--cpus=N] [--memory=SIZE] [--disk=SIZE] "
        "[--timeout=TIME] [-- ENTRYPOINT...]",
    .help =
        "Make a pool: sandboxes of one kind that are kept ready, to be claimed in no time.\n"
        "\n"
        "--warm of them are ready at any time; --max counts those that were claimed, too. SIZE is "
        "512M\n"
        "or 2G, TIME is 90s, 10m or 2h.",
    .run = run};

}  // namespace glovebox::cli

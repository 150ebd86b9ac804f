#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/pool_options.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(pool, args.positional("POOL"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  const std::string path = "/sandbox-pools/" + http::encode_path(pool);
  // The call replaces all of it: what was not said is sent as it is.
  TRY(body, engine->request("GET", path), "pool ", pool);
  if (auto image = args.option("--image")) body["image"] = *image;
  TRY_DO(pool_options(args, body));
  TRY(updated, engine->request("PUT", path, json::serialize(body)), "update pool ", pool);
  out.object(updated);
  return 0;
}

const Command kPoolUpdate{
    .name = "pool update",
    .usage =
        "pool update POOL [--image=IMAGE] [--warm=N] [--max=N] [--cpus=N] [--memory=SIZE] "
        "[--disk=SIZE] [--timeout=TIME] [-- ENTRYPOINT...]",
    .help =
        "Change a pool.\n"
        "\n"
        "What is not said stays. Where the sandboxes would be others, the ready ones are made "
        "anew;\n"
        "sandboxes that were claimed stay as they are.",
    .run = run};

}  // namespace glovebox::cli

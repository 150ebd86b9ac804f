#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(pool, args.positional("POOL"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(record, engine->request("GET", "/sandbox-pools/" + http::encode_path(pool)), "pool ", pool);
  out.object(record);
  return 0;
}

const Command kPoolShow{
    .name = "pool show",
    .usage = "pool show POOL",
    .help = "Show all about a pool, with the sandboxes that are ready or claimed.",
    .run = run};

}  // namespace glovebox::cli

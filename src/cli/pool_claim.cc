#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(pool, args.positional("POOL"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(claimed,
      engine->request("POST", str("/sandbox-pools/", http::encode_path(pool), "/sandboxes")),
      "claim from pool ", pool);
  out.object(claimed);
  return 0;
}

const Command kPoolClaim{.name = "pool claim",
                         .usage = "pool claim POOL",
                         .help =
                             "Take a sandbox from a pool.\n"
                             "\n"
                             "Where none is ready one is made; where the pool is full it is "
                             "pending until there is room.",
                         .run = run};

}  // namespace glovebox::cli

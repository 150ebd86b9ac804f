#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/each_name.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  auto pools = args.remaining();
  if (pools.empty()) return usage_error("give the ids of pools");
  TRY(engine, EngineClient::open(context));
  return for_each_name(
      pools, "remove pool", "removed", out, [&](const std::string& pool) -> Result<void> {
        TRY_DO(engine->request("DELETE", "/sandbox-pools/" + http::encode_path(pool)));
        return ok;
      });
}

const Command kPoolRm{.name = "pool rm",
                      .usage = "pool rm POOL...",
                      .help =
                          "Remove pools, with the sandboxes that are ready in them. Claimed ones "
                          "have to be removed first.",
                      .run = run};

}  // namespace glovebox::cli

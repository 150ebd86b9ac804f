#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(record, engine->get(name), "show ", name);
  out.object(record);
  return 0;
}

const Command kSandboxShow{.name = "sandbox show",
                           .usage = "sandbox show NAME",
                           .help = "Show all about a sandbox, by name or id.",
                           .run = run};

}  // namespace glovebox::cli

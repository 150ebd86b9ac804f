#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(id, args.positional("SNAPSHOT"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(record, engine->request("GET", "/snapshots/" + http::encode_path(id)), "show ", id);
  out.object(record);
  return 0;
}

const Command kSnapshotShow{.name = "snapshot show",
                            .usage = "snapshot show SNAPSHOT",
                            .help = "Show all about a snapshot, by its id.",
                            .run = run};

}  // namespace glovebox::cli

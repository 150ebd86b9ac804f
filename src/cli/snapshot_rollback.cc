#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(sandbox, args.positional("SANDBOX"));
  TRY(snapshot, args.positional("SNAPSHOT"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(record,
      engine->request("POST", str("/sandboxes/", http::encode_path(sandbox), "/rollback"),
                      json::serialize(json::object{{"snapshot_id", snapshot}})),
      "roll back ", sandbox);
  out.object(record);
  return 0;
}

const Command kSnapshotRollback{
    .name = "snapshot rollback",
    .usage = "snapshot rollback SANDBOX SNAPSHOT",
    .help =
        "Put the files of a sandbox back to what they were in a snapshot.\n"
        "\n"
        "Name, id and settings stay; its processes end and its entrypoint starts again. What was\n"
        "written since is lost: take another snapshot first to keep it.",
    .run = run};

}  // namespace glovebox::cli

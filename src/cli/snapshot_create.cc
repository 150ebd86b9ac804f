#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(sandbox, args.positional("SANDBOX"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(taken,
      engine->request("POST", str("/sandboxes/", http::encode_path(sandbox), "/snapshot"),
                      R"({"suspended":true})"),
      "snapshot of ", sandbox);
  std::string id = json::value_to<std::string>(taken["snapshot_id"]);
  TRY(record, engine->request("GET", "/snapshots/" + http::encode_path(id)));
  out.object(record);
  return 0;
}

const Command kSnapshotCreate{
    .name = "snapshot create",
    .usage = "snapshot create SANDBOX",
    .help =
        "Keep the files of a sandbox as they are now.\n"
        "\n"
        "Its processes go on; they stand still for a few milliseconds. One that is suspended is\n"
        "not woken for it. A snapshot outlives its sandbox; see 'sandbox create --snapshot',\n"
        "'sandbox fork' and 'snapshot rollback'.",
    .run = run};

}  // namespace glovebox::cli

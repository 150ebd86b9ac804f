#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  auto ids = args.remaining();
  if (ids.empty()) return usage_error("give the ids of snapshots");
  TRY(engine, EngineClient::open(context));
  // One that cannot go does not keep the others; the first failure gives the exit code.
  json::array removed;
  int code = 0;
  for (const std::string& id : ids) {
    auto gone = engine->request("DELETE", "/snapshots/" + http::encode_path(id));
    if (gone) {
      removed.emplace_back(id);
      continue;
    }
    out.note(str("glovebox: remove ", id, ": ", gone.error().what));
    if (code == 0) code = exit_code(gone.error());
  }
  if (!removed.empty() || code == 0) out.object({{"removed", std::move(removed)}});
  return code;
}

const Command kSnapshotRm{
    .name = "snapshot rm",
    .usage = "snapshot rm SNAPSHOT...",
    .help = "Remove snapshots. Sandboxes and snapshots that came of them keep their files.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  auto ids = args.remaining();
  if (ids.empty()) return usage_error("give the ids of sessions");
  TRY(brain, BrainClient::open(context));
  // One that cannot go does not keep the others; the first failure gives the exit code.
  json::array removed;
  int code = 0;
  for (const std::string& id : ids) {
    auto gone = brain->remove("/v1/sessions/" + http::encode_path(id));
    if (gone) {
      removed.emplace_back(id);
      continue;
    }
    out.note(str("glovebox: remove ", id, ": ", gone.error().what));
    if (code == 0) code = exit_code(gone.error());
  }
  if (!removed.empty()) out.object({{"removed", std::move(removed)}});
  return code;
}

const Command kSessionsRm{
    .name = "sessions rm",
    .usage = "sessions rm SESSION...",
    .help = "Delete sessions with all their events. Their sandboxes end when they are idle.",
    .run = run};

}  // namespace glovebox::cli

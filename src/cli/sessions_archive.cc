#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(id, args.positional("SESSION"));
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(session, brain->post(str("/v1/sessions/", http::encode_path(id), "/archive")), "archive ",
      id);
  out.object(
      {{"archived", text_of(session, "id")}, {"archived_at", text_of(session, "archived_at")}});
  return 0;
}

const Command kSessionsArchive{
    .name = "sessions archive",
    .usage = "sessions archive SESSION",
    .help =
        "End a session for good and keep what happened in it. A running one must be "
        "interrupted first.",
    .run = run};

}  // namespace glovebox::cli

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
  TRY(session, brain->get("/v1/sessions/" + http::encode_path(id)), "show ", id);
  out.object(session);
  return 0;
}

const Command kSessionsShow{.name = "sessions show",
                            .usage = "sessions show SESSION",
                            .help = "Show all about a session.",
                            .run = run};

}  // namespace glovebox::cli

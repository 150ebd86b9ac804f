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
  TRY_DO(brain->post(str("/v1/sessions/", http::encode_path(id), "/events"),
                     R"({"events":[{"type":"user.interrupt"}]})"),
         "interrupt ", id);
  out.object({{"interrupted", id}});
  return 0;
}

const Command kSessionsInterrupt{
    .name = "sessions interrupt",
    .usage = "sessions interrupt SESSION",
    .help = "Stop the turn that runs; the session stays, and takes the next message.",
    .run = run};

}  // namespace glovebox::cli

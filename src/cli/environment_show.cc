#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("ENVIRONMENT"));
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(id, brain->environment_id(name));
  TRY(environment, brain->get("/v1/environments/" + http::encode_path(id)), "show ", name);
  out.object(environment);
  return 0;
}

const Command kEnvironmentShow{.name = "environment show",
                               .usage = "environment show ENVIRONMENT",
                               .help = "Show all about an environment, by name or id.",
                               .run = run};

}  // namespace glovebox::cli

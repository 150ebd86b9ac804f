#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("ENVIRONMENT"));
  TRY(key, args.positional("KEY"));
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(id, brain->environment_id(name));
  TRY_DO(brain->remove(str("/glovebox/v1/environments/", http::encode_path(id), "/keys/",
                           http::encode_path(key))),
         "revoke ", key);
  out.object({{"revoked", key}});
  return 0;
}

const Command kEnvironmentKeyRevoke{
    .name = "environment key revoke",
    .usage = "environment key revoke ENVIRONMENT KEY",
    .help =
        "Make a key worthless from the next request on. KEY is its id (ekey_…).\n"
        "\n"
        "Work that is under way ends as it would have: it goes by a token of its own.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("ENVIRONMENT"));
  TRY_DO(args.done());
  json::object body;
  if (auto label = args.option("--name")) body["name"] = *label;
  TRY(brain, BrainClient::open(context));
  TRY(id, brain->environment_id(name));
  TRY(key,
      brain->post(str("/glovebox/v1/environments/", http::encode_path(id), "/keys"),
                  json::serialize(body)),
      "key for ", name);
  out.note("glovebox: the key is shown this once; only its hash is kept");
  out.object(key);
  return 0;
}

const Command kEnvironmentKeyCreate{
    .name = "environment key create",
    .usage = "environment key create ENVIRONMENT [--name=NAME]",
    .help =
        "Make a key of an environment, for a worker: ANTHROPIC_ENVIRONMENT_KEY.\n"
        "\n"
        "An environment has as many as you like, so that one can replace another.",
    .run = run};

}  // namespace glovebox::cli

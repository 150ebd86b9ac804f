#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  TRY_DO(args.done());
  json::object body{{"name", name}, {"config", {{"type", "self_hosted"}}}};
  if (auto description = args.option("--description")) body["description"] = *description;
  TRY(brain, BrainClient::open(context));
  TRY(created, brain->post("/v1/environments", json::serialize(body)), "create");
  out.object(created);
  return 0;
}

const Command kEnvironmentCreate{
    .name = "environment create",
    .usage = "environment create NAME [--description=TEXT]",
    .help = "Make a self-hosted environment: a queue of work for workers that hold a key of it.",
    .run = run};

}  // namespace glovebox::cli

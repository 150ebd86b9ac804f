#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(environment, brain->environment(context, args));
  TRY(stats, brain->get(str("/v1/environments/", http::encode_path(environment), "/work/stats")),
      "queue of ", environment);
  json::object shown{{"environment_id", environment}};
  for (auto& member : stats) shown[member.key()] = std::move(member.value());
  out.object(shown);
  return 0;
}

const Command kWorkStats{
    .name = "work stats",
    .usage = "work stats [--environment=ENVIRONMENT]",
    .help = "Say how long an environment's queue is, and how many workers poll it.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(id, args.positional("WEBHOOK"));
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(removed, brain->remove("/v1/organizations/webhooks/" + http::encode_path(id)), "remove ", id);
  out.object(removed);
  return 0;
}

const Command kWebhookRm{.name = "webhook rm",
                         .usage = "webhook rm WEBHOOK",
                         .help = "Tell an endpoint no more, and forget its deliveries.",
                         .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(id, args.positional("WEBHOOK"));
  TRY(event, args.positional("EVENT"));
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(delivery,
      brain->post(str("/glovebox/v1/webhooks/", http::encode_path(id), "/deliveries/",
                      http::encode_path(event), "/replay")),
      "replay ", event);
  out.object(delivery);
  return 0;
}

const Command kWebhookReplay{.name = "webhook replay",
                             .usage = "webhook replay WEBHOOK EVENT",
                             .help = "Deliver an event (wevt_…) once more, under the id it had.",
                             .run = run};

}  // namespace glovebox::cli

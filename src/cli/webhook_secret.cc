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
  TRY(secret,
      brain->post(
          str("/v1/organizations/webhooks/", http::encode_path(id), "/regenerate_signing_secret")),
      "secret for ", id);
  out.note("glovebox: the secret is shown this once; the old one is worthless now");
  out.object(secret);
  return 0;
}

const Command kWebhookSecret{.name = "webhook secret",
                             .usage = "webhook secret WEBHOOK",
                             .help = "Make a new signing secret in place of the old one.",
                             .run = run};

}  // namespace glovebox::cli

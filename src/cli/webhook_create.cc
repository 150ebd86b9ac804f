#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(url, args.positional("URL"));
  TRY_DO(args.done());
  json::array events;
  for (const std::string& event : args.options("--event")) events.emplace_back(event);
  if (events.empty()) events.emplace_back("session.status_run_started");
  json::object body{{"url", url}, {"enabled_events", std::move(events)}};
  if (auto name = args.option("--name")) body["name"] = *name;
  TRY(brain, BrainClient::open(context));
  TRY(webhook, brain->post("/v1/organizations/webhooks", json::serialize(body)), "webhook");
  out.note("glovebox: the signing secret is shown this once; `webhook secret` makes a new one");
  out.object(webhook);
  return 0;
}

const Command kWebhookCreate{
    .name = "webhook create",
    .usage = "webhook create URL [--event=TYPE]... [--name=NAME]",
    .help =
        "Have the brain tell URL what happens: signed deliveries (Standard Webhooks).\n"
        "\n"
        "Without --event it tells of session.status_run_started, which is what a worker that "
        "sleeps\n"
        "wants to know; --event='*' is everything. URL is https on port 443 of a public host, "
        "unless\n"
        "the brain's setting webhooks_allow_private says otherwise.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(id, args.positional("WEBHOOK"));
  TRY_DO(args.done());
  json::object body;
  if (args.flag("--enable") && args.flag("--disable"))
    return usage_error("--enable and --disable exclude each other");
  if (args.flag("--enable")) body["state"] = "enabled";
  if (args.flag("--disable")) body["state"] = "disabled";
  if (auto url = args.option("--url")) body["url"] = *url;
  if (auto name = args.option("--name")) body["name"] = *name;
  json::array events;
  for (const std::string& event : args.options("--event")) events.emplace_back(event);
  if (!events.empty()) body["enabled_events"] = std::move(events);
  if (body.empty()) return usage_error("nothing to change: say what");
  TRY(brain, BrainClient::open(context));
  TRY(webhook,
      brain->post("/v1/organizations/webhooks/" + http::encode_path(id), json::serialize(body)),
      "change ", id);
  out.object(webhook);
  return 0;
}

const Command kWebhookUpdate{
    .name = "webhook update",
    .usage =
        "webhook update WEBHOOK [--enable] [--disable] [--url=URL] [--event=TYPE]... "
        "[--name=NAME]",
    .help =
        "Change an endpoint. What happens while it is disabled is never told, and what it was "
        "owed\n"
        "is dropped.",
    .run = run};

}  // namespace glovebox::cli

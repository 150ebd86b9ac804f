#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::vector<Column> columns() {
  return {{"EVENT", [](auto& d) { return text_of(d, "event_id"); }},
          {"TYPE", [](auto& d) { return text_of(d, "event_type"); }},
          {"STATE", [](auto& d) { return text_of(d, "state"); }},
          {"ATTEMPTS", [](auto& d) { return text_of(d, "attempts"); }},
          {"ANSWER",
           [](auto& d) {
             std::string error = text_of(d, "last_error");
             return error.empty() ? text_of(d, "last_status") : error;
           }},
          {"AGE", [](auto& d) { return age_of(text_of(d, "created_at")); }}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(id, args.positional("WEBHOOK"));
  TRY(limit, args.number("--limit", 1, 100'000, 50));
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(deliveries,
      brain->list(str("/glovebox/v1/webhooks/", http::encode_path(id),
                      "/deliveries?limit=", std::min<std::int64_t>(limit, 1000)),
                  static_cast<std::size_t>(limit)),
      "list");
  out.list(deliveries, columns());
  return 0;
}

const Command kWebhookDeliveries{
    .name = "webhook deliveries",
    .usage = "webhook deliveries WEBHOOK [--limit=N]",
    .help = "List what an endpoint was told or is owed, newest first, of the last seven days.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::string joined(const json::object& webhook) {
  std::string text;
  for (const auto& event : webhook.at("enabled_events").as_array())
    text += str(text.empty() ? "" : " ", std::string_view(event.as_string()));
  return text;
}

static std::vector<Column> columns() {
  return {{"ID", [](auto& w) { return text_of(w, "id"); }},
          {"URL", [](auto& w) { return text_of(w, "url"); }},
          {"STATE",
           [](auto& w) {
             std::string reason = text_of(w, "disabled_reason");
             return text_of(w, "state") + (reason.empty() ? "" : ": " + reason);
           }},
          {"EVENTS", [](auto& w) { return joined(w); }},
          {"AGE", [](auto& w) { return age_of(text_of(w, "created_at")); }}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(answer, brain->get("/v1/organizations/webhooks?limit=100"), "list");
  out.list(answer.at("data").as_array(), columns());
  return 0;
}

const Command kWebhookLs{.name = "webhook ls",
                         .usage = "webhook ls",
                         .help = "List the endpoints that are told what happens, newest first.",
                         .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"
#include "cli/prompt.h"
#include "cli/session_drive.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<std::string> given_events(Context& context, Args& args) {
  auto events = args.options("--event");
  TRY(prompt, read_prompt(context, args, ""));
  if (events.empty() == !prompt.has_value())
    return usage_error("give either a PROMPT or events (--event)");
  if (prompt) return message_events(*prompt);
  json::array all;
  for (const std::string& text : events) {
    boost::system::error_code wrong;
    json::value event = json::parse(text, wrong);
    if (wrong || !event.is_object()) return usage_error("--event: that is no JSON object");
    all.push_back(std::move(event));
  }
  json::object body;
  body["events"] = std::move(all);
  return json::serialize(body);
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(id, args.positional("SESSION"));
  TRY(body, given_events(context, args));
  TRY(brain, BrainClient::open(context));
  TRY(answer, brain->post(str("/v1/sessions/", http::encode_path(id), "/events"), body), "send to ",
      id);
  json::array sent;
  if (json::value* data = answer.if_contains("data"); data && data->is_array())
    sent = std::move(data->as_array());
  out.list(sent, {{"ID", [](auto& e) { return text_of(e, "id"); }},
                  {"TYPE", [](auto& e) { return text_of(e, "type"); }}});
  return 0;
}

const Command kSessionsSend{
    .name = "sessions send",
    .usage = "sessions send SESSION [PROMPT] [--prompt-file=FILE] [--event=JSON]... [-- PROMPT]",
    .help =
        "Send a message or events to a session, and do not wait for what follows.\n"
        "\n"
        "--event is one event as the API takes it, such as the result of a custom tool:\n"
        "  "
        "{\"type\":\"user.custom_tool_result\",\"custom_tool_use_id\":\"sevt_…\",\"content\":[…]}",
    .run = run};

}  // namespace glovebox::cli

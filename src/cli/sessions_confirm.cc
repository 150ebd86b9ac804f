#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"
#include "cli/session_drive.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(session, args.positional("SESSION"));
  TRY(event, args.positional("EVENT"));
  TRY(verdict, args.positional("allow|deny"));
  TRY_DO(args.done());
  bool allow = verdict == "allow";
  if (!allow && verdict != "deny")
    return usage_error(str("'", verdict, "' is neither allow nor deny"));
  auto message = args.option("--message");
  if (allow && message) return usage_error("--message is for deny");
  TRY(brain, BrainClient::open(context));
  std::string body = confirmation_events(event, allow, message.value_or(""));
  TRY_DO(brain->post(str("/v1/sessions/", http::encode_path(session), "/events"), body), verdict,
         " ", event);
  out.object({{"session", session}, {"event", event}, {"result", verdict}});
  return 0;
}

const Command kSessionsConfirm{
    .name = "sessions confirm",
    .usage = "sessions confirm SESSION EVENT allow|deny [--message=TEXT]",
    .help =
        "Allow or deny a tool call that waits to be confirmed.\n"
        "\n"
        "EVENT is the id of the agent.tool_use event; --message tells the agent why not.",
    .run = run};

}  // namespace glovebox::cli

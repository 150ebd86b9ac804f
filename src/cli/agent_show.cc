#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("AGENT"));
  TRY_DO(args.done());
  TRY(version, args.number("--version", 1, INT32_MAX, 0));
  TRY(brain, BrainClient::open(context));
  TRY(id, brain->agent_id(name));
  TRY(agent,
      brain->get(
          str("/v1/agents/", http::encode_path(id), version ? str("?version=", version) : "")),
      "show ", name);
  out.object(agent);
  return 0;
}

const Command kAgentShow{.name = "agent show",
                         .usage = "agent show AGENT [--version=N]",
                         .help = "Show all about an agent, by name or id.",
                         .run = run};

}  // namespace glovebox::cli

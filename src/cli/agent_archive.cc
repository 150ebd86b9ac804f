#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("AGENT"));
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(id, brain->agent_id(name));
  TRY(agent, brain->post(str("/v1/agents/", http::encode_path(id), "/archive")), "archive ", name);
  out.object({{"archived", id}, {"archived_at", text_of(agent, "archived_at")}});
  return 0;
}

const Command kAgentArchive{
    .name = "agent archive",
    .usage = "agent archive AGENT",
    .help = "Retire an agent: no new sessions. Those it has keep it as it was.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::vector<Column> columns() {
  return {{"ID", [](auto& a) { return text_of(a, "id"); }},
          {"NAME", [](auto& a) { return text_of(a, "name"); }},
          {"VERSION", [](auto& a) { return text_of(a, "version"); }},
          {"MODEL", [](auto& a) { return text_at(json::value(a), "/model/id"); }},
          {"AGE", [](auto& a) { return age_of(text_of(a, "created_at")); }},
          {"ARCHIVED", [](auto& a) { return age_of(text_of(a, "archived_at")); }}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(agents,
      brain->list(str("/v1/agents?limit=100", args.flag("--all") ? "&include_archived=true" : "")),
      "list");
  out.list(agents, columns());
  return 0;
}

const Command kAgentLs{.name = "agent ls",
                       .usage = "agent ls [--all]",
                       .help = "List the agents, newest first. With --all the archived ones too.",
                       .run = run};

}  // namespace glovebox::cli

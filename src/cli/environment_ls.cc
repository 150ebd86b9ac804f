#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::vector<Column> columns() {
  return {{"ID", [](auto& e) { return text_of(e, "id"); }},
          {"NAME", [](auto& e) { return text_of(e, "name"); }},
          {"TYPE", [](auto& e) { return text_at(json::value(e), "/config/type"); }},
          {"AGE", [](auto& e) { return age_of(text_of(e, "created_at")); }},
          {"ARCHIVED", [](auto& e) { return age_of(text_of(e, "archived_at")); }}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(environments,
      brain->list(
          str("/v1/environments?limit=100", args.flag("--all") ? "&include_archived=true" : "")),
      "list");
  out.list(environments, columns());
  return 0;
}

const Command kEnvironmentLs{
    .name = "environment ls",
    .usage = "environment ls [--all]",
    .help = "List the environments, newest first. With --all the archived ones too.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::vector<Column> columns() {
  return {{"ID", [](auto& s) { return text_of(s, "id"); }},
          {"STATUS", [](auto& s) { return text_of(s, "status"); }},
          {"AGENT", [](auto& s) { return text_at(json::value(s), "/agent/name"); }},
          {"TITLE", [](auto& s) { return text_of(s, "title"); }},
          {"AGE", [](auto& s) { return age_of(text_of(s, "created_at")); }},
          {"CHANGED", [](auto& s) { return age_of(text_of(s, "updated_at")); }}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  std::string query = "/v1/sessions?limit=100";
  for (const std::string& status : args.options("--status"))
    query += "&statuses%5B%5D=" + http::encode_query(status);
  if (args.flag("--all")) query += "&include_archived=true";
  TRY(most, args.number("--limit", 1, 1'000'000, 1000));
  TRY(brain, BrainClient::open(context));
  TRY(sessions, brain->list(query, static_cast<std::size_t>(most)), "list");
  out.list(sessions, columns());
  return 0;
}

const Command kSessionsLs{
    .name = "sessions ls",
    .usage = "sessions ls [--status=STATUS]... [--all] [--limit=N]",
    .help = "List the sessions, newest first. With --all the archived ones too.",
    .run = run};

}  // namespace glovebox::cli

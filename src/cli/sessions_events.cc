#include <algorithm>
#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/event_text.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

// A line of a table: what it was, without what would fill the screen.
static std::string gist(const json::object& event) {
  std::string text = describe(event, Style{}).text;
  if (text.empty()) return "";
  while (text.ends_with('\n')) text.pop_back();
  while (text.starts_with('\n')) text.erase(0, 1);
  return cut(text.substr(0, text.find('\n')), 100);
}

static std::vector<Column> columns() {
  return {{"ID", [](auto& e) { return text_of(e, "id"); }},
          {"AT", [](auto& e) { return text_of(e, "processed_at"); }},
          {"TYPE", [](auto& e) { return text_of(e, "type"); }},
          {"", gist}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(id, args.positional("SESSION"));
  TRY_DO(args.done());
  std::string query = str("/v1/sessions/", http::encode_path(id), "/events?limit=1000");
  for (const std::string& type : args.options("--type"))
    query += "&types%5B%5D=" + http::encode_query(type);
  TRY(last, args.number("--last", 1, 1'000'000, 0));
  if (last) query += "&order=desc";
  TRY(brain, BrainClient::open(context));
  TRY(events, brain->list(query, last ? static_cast<std::size_t>(last) : SIZE_MAX), "events of ",
      id);
  if (last) std::ranges::reverse(events);
  out.list(events, columns());
  return 0;
}

const Command kSessionsEvents{
    .name = "sessions events",
    .usage = "sessions events SESSION [--type=TYPE]... [--last=N]",
    .help = "List what happened in a session, oldest first. --json has all of each event.",
    .run = run};

}  // namespace glovebox::cli

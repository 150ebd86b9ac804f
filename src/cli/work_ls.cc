#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::vector<Column> columns() {
  return {{"ID", [](auto& w) { return text_of(w, "id"); }},
          {"STATE", [](auto& w) { return text_of(w, "state"); }},
          {"FOR", [](auto& w) { return text_at(json::value(w), "/data/id"); }},
          {"AGE", [](auto& w) { return age_of(text_of(w, "created_at")); }},
          {"HEARTBEAT", [](auto& w) { return age_of(text_of(w, "latest_heartbeat_at")); }}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(most, args.number("--limit", 1, 1'000'000, 1000));
  TRY(brain, BrainClient::open(context));
  TRY(environment, brain->environment(context, args));
  TRY(work,
      brain->list(str("/v1/environments/", http::encode_path(environment), "/work?limit=100"),
                  static_cast<std::size_t>(most)),
      "queue of ", environment);
  out.list(work, columns());
  return 0;
}

const Command kWorkLs{.name = "work ls",
                      .usage = "work ls [--environment=ENVIRONMENT] [--limit=N]",
                      .help = "List the work of an environment's queue, newest first.",
                      .run = run};

}  // namespace glovebox::cli

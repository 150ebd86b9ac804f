#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(id, args.positional("WORK"));
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(environment, brain->environment(context, args));
  TRY(work,
      brain->post(str("/v1/environments/", http::encode_path(environment), "/work/",
                      http::encode_path(id), "/stop"),
                  args.flag("--force") ? R"({"force":true})" : R"({"force":false})"),
      "stop ", id);
  out.object({{"id", id}, {"state", text_of(work, "state")}});
  return 0;
}

const Command kWorkStop{
    .name = "work stop",
    .usage = "work stop WORK [--force] [--environment=ENVIRONMENT]",
    .help =
        "Ask the worker that holds an item to let it go; with --force it is taken at once.\n"
        "\n"
        "A session that still has something to do gets a new item.",
    .run = run};

}  // namespace glovebox::cli

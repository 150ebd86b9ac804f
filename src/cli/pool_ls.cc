#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(answer, engine->request("GET", "/sandbox-pools"), "list pools");
  const json::value* pools = answer.if_contains("pools");
  if (!pools || !pools->is_array())
    return Error{Code::internal, "the engine's list has no 'pools'"};
  out.list(pools->as_array(), {{"ID", [](auto& p) { return text_of(p, "id"); }},
                               {"IMAGE", [](auto& p) { return text_of(p, "image"); }},
                               {"WARM", [](auto& p) { return text_of(p, "warm_containers"); }},
                               {"MAX", [](auto& p) { return text_of(p, "max_containers"); }},
                               {"TIMEOUT", [](auto& p) { return text_of(p, "timeout_secs"); }}});
  return 0;
}

const Command kPoolLs{
    .name = "pool ls", .usage = "pool ls", .help = "List the pools, oldest first.", .run = run};

}  // namespace glovebox::cli

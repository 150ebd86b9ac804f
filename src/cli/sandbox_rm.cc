#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<std::vector<std::string>> all_ids(EngineClient& engine) {
  TRY(records, engine.list_live(), "list");
  std::vector<std::string> ids;
  for (const json::value& record : records) {
    const json::value* id = record.as_object().if_contains("id");
    if (!id) id = record.as_object().if_contains("sandbox_id");
    if (id && id->is_string()) ids.emplace_back(id->as_string());
  }
  return ids;
}

static Result<int> run(Context& context, Args& args, Output& out) {
  auto names = args.remaining();
  if (names.empty() != args.flag("--all"))
    return usage_error("give the names of sandboxes, or --all");
  TRY(engine, EngineClient::open(context));
  if (args.flag("--all")) {
    TRY(ids, all_ids(*engine));
    names = std::move(ids);
  }
  // One that cannot go does not keep the others; the first failure gives the exit code.
  json::array removed;
  int code = 0;
  for (const std::string& name : names) {
    auto gone = engine->remove(name);
    if (gone) {
      removed.emplace_back(name);
      continue;
    }
    out.note(str("glovebox: remove ", name, ": ", gone.error().what));
    if (code == 0) code = exit_code(gone.error());
  }
  if (!removed.empty() || code == 0) out.object({{"removed", std::move(removed)}});
  return code;
}

const Command kSandboxRm{
    .name = "sandbox rm",
    .usage = "sandbox rm [NAME]... [--all]",
    .help = "End sandboxes and remove all that is in them. --all: every one of this engine.",
    .run = run};

}  // namespace glovebox::cli

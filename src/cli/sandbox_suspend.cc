#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/each_name.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  auto names = args.remaining();
  if (names.empty()) return usage_error("give the names of sandboxes");
  TRY(engine, EngineClient::open(context));
  return for_each_name(
      names, "suspend", "suspended", out, [&](const std::string& name) -> Result<void> {
        TRY_DO(engine->request("POST", str("/sandboxes/", http::encode_path(name), "/suspend")));
        return ok;
      });
}

const Command kSandboxSuspend{.name = "sandbox suspend",
                              .usage = "sandbox suspend NAME...",
                              .help =
                                  "Stop the processes of sandboxes until they are wanted again.\n"
                                  "\n"
                                  "Only of those with a name, and not while an operation is under "
                                  "way in them. They keep all\n"
                                  "they have: files, processes, memory. Any use of one wakes it.",
                              .run = run};

}  // namespace glovebox::cli

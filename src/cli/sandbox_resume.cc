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
      names, "resume", "resumed", out, [&](const std::string& name) -> Result<void> {
        TRY_DO(engine->request("POST", str("/sandboxes/", http::encode_path(name), "/resume")));
        return ok;
      });
}

const Command kSandboxResume{.name = "sandbox resume",
                             .usage = "sandbox resume NAME...",
                             .help =
                                 "Let suspended sandboxes go on.\n"
                                 "\n"
                                 "Any use of one does this, too.",
                             .run = run};

}  // namespace glovebox::cli

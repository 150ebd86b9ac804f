// suspend, and resume: the same over several names.
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/each_name.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace {

Result<int> each(const Context& context, Args& args, Output& out, std::string_view verb,
                 std::string_view done) {
  auto names = args.remaining();
  if (names.empty()) return usage_error("give the names of sandboxes");
  TRY(engine, EngineClient::open(context));
  return for_each_name(names, verb, done, out, [&](const std::string& name) -> Result<void> {
    TRY_DO(engine->request("POST", str("/sandboxes/", http::encode_path(name), "/", verb)));
    return ok;
  });
}

Result<int> suspend(Context& context, Args& args, Output& out) {
  return each(context, args, out, "suspend", "suspended");
}

Result<int> resume(Context& context, Args& args, Output& out) {
  return each(context, args, out, "resume", "resumed");
}

}  // namespace

const Command kSandboxSuspend{.name = "sandbox suspend",
                              .usage = "sandbox suspend NAME...",
                              .help =
                                  "Stop the processes of sandboxes until they are wanted again.\n"
                                  "\n"
                                  "Only of those with a name, and not while an operation is under "
                                  "way in them. They keep all\n"
                                  "they have: files, processes, memory. Any use of one wakes it.",
                              .run = suspend};

const Command kSandboxResume{.name = "sandbox resume",
                             .usage = "sandbox resume NAME...",
                             .help =
                                 "Let suspended sandboxes go on.\n"
                                 "\n"
                                 "Any use of one does this, too.",
                             .run = resume};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  auto names = args.remaining();
  TRY_DO(args.done());
  if (names.empty() && !args.flag("--unused"))
    return usage_error("name the images to remove, or give --unused");
  TRY(engine, EngineClient::open(context));
  for (const auto& name : names) {
    TRY_DO(engine->request("DELETE", "/images/" + http::encode_path(name)), "remove image ", name);
    out.note("removed " + printable(name));
  }
  if (args.flag("--unused")) {
    TRY(pruned, engine->request("POST", "/images/prune", "{}"));
    out.object(pruned);
  }
  return 0;
}

const Command kImageRm{
    .name = "image rm",
    .usage = "image rm [IMAGE]... [--unused]",
    .help =
        "Remove images. Sandboxes made from them go on; the files go with the last of those.\n"
        "\n"
        "--unused also drops what is kept for the next build or pull alone.",
    .run = run};

}  // namespace glovebox::cli

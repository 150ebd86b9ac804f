#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(first, args.positional("VOLUME"));
  auto names = args.remaining();
  names.insert(names.begin(), first);
  TRY(engine, EngineClient::open(context));
  for (const auto& name : names) {
    TRY_DO(engine->request("DELETE", "/volumes/" + http::encode_path(name)), "remove volume ",
           name);
    out.note("removed " + printable(name));
  }
  return 0;
}

const Command kVolumeRm{
    .name = "volume rm",
    .usage = "volume rm VOLUME...",
    .help = "Remove volumes with all that is in them. One that a sandbox has is refused.",
    .run = run};

}  // namespace glovebox::cli

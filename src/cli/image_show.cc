#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("IMAGE"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  auto image = engine->request("GET", "/images/" + http::encode_path(name));
  if (!image && image.error().code == Code::not_found && name == "host")
    return Error{
        Code::not_found,
        "'host' is no imported image: it is this machine's own programs, and always there"};
  if (!image) return std::move(image.error());
  out.object(*image);
  return 0;
}

const Command kImageShow{.name = "image show",
                         .usage = "image show IMAGE",
                         .help =
                             "Show one image: its id, where it came from, what processes in it "
                             "begin with.",
                         .run = run};

}  // namespace glovebox::cli

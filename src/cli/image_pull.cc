#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/image_job.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(reference, args.positional("REFERENCE"));
  TRY_DO(args.done());
  json::object body{{"reference", reference}};
  if (auto name = args.option("--name")) body["name"] = *name;
  if (auto user = args.option("--user")) {
    auto password = context.variable("GLOVEBOX_REGISTRY_PASSWORD");
    if (!password)
      return usage_error("--user: the password is read from GLOVEBOX_REGISTRY_PASSWORD");
    body["user"] = *user;
    body["password"] = *password;
  }
  TRY(engine, EngineClient::open(context));
  TRY(image, follow_image_job(*engine, "/images/pull", json::serialize(body), out), "pull ",
      reference);
  out.object(image);
  return 0;
}

const Command kImagePull{
    .name = "image pull",
    .usage = "image pull REFERENCE [--name=NAME] [--user=USER]",
    .help =
        "Fetch an image from a registry: debian:12, ghcr.io/owner/name:tag, name@sha256:...\n"
        "\n"
        "Everything is checked against its digest. Layers that are here are not fetched again, and "
        "a\n"
        "pull that broke off goes on where it was. It is called as the REFERENCE, unless --name "
        "says\n"
        "otherwise. With --user the password is taken from GLOVEBOX_REGISTRY_PASSWORD.",
    .run = run};

}  // namespace glovebox::cli

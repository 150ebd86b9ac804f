#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/volume_options.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::string file_systems_of(std::string_view sandbox) {
  return str("/sandboxes/", http::encode_path(sandbox), "/file_systems");
}

static Result<int> attach(Context& context, Args& args, Output& out) {
  TRY(sandbox, args.positional("SANDBOX"));
  TRY(what, args.positional("VOLUME:/PATH"));
  TRY_DO(args.done());
  TRY(volume, volume_of("VOLUME:/PATH", what));
  TRY(engine, EngineClient::open(context));
  TRY(record, engine->request("POST", file_systems_of(sandbox), json::serialize(volume)),
      "attach to ", sandbox);
  if (out.json())
    out.object(record);
  else
    out.object({{"attached", what}, {"sandbox", sandbox}});
  return 0;
}

static Result<int> detach(Context& context, Args& args, Output& out) {
  TRY(sandbox, args.positional("SANDBOX"));
  TRY(path, args.positional("PATH"));
  TRY_DO(args.done());
  if (!path.starts_with('/'))
    return usage_error(str("'", path,
                           "' is no path such as /mnt/data: a sandbox may have a volume "
                           "at several; 'glovebox sandbox show ",
                           sandbox, "' lists them"));
  TRY(engine, EngineClient::open(context));
  TRY(record,
      engine->request("DELETE", file_systems_of(sandbox),
                      json::serialize(json::object{{"mount_path", path}})),
      "detach from ", sandbox);
  if (out.json())
    out.object(record);
  else
    out.object({{"detached", path}, {"sandbox", sandbox}});
  return 0;
}

const Command kVolumeAttach{.name = "volume attach",
                            .usage = "volume attach SANDBOX VOLUME:/PATH[:ro]",
                            .help = "Give a sandbox that lives a volume, mounted at PATH.",
                            .run = attach};

const Command kVolumeDetach{
    .name = "volume detach",
    .usage = "volume detach SANDBOX /PATH",
    .help =
        "Take the volume at PATH away from a sandbox. What has files of it open keeps those until\n"
        "it closes them.",
    .run = detach};

}  // namespace glovebox::cli

#include <sys/utsname.h>

#include <boost/json.hpp>

#include "cli/commands.h"

namespace glovebox::cli {

static Result<int> run(Context&, Args& args, Output& out) {
  TRY_DO(args.done());
  utsname system{};
  ::uname(&system);
  out.object({{"glovebox", GLOVEBOX_VERSION},
              {"compiler", __VERSION__},
              {"kernel", system.release},
              {"machine", system.machine}});
  return 0;
}

const Command kVersion{
    .name = "version", .usage = "version", .help = "Say which Glovebox this is.", .run = run};

}  // namespace glovebox::cli

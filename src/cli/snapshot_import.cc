#include "cli/archive_import.h"
#include "cli/commands.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(path, args.positional("FILE"));
  TRY_DO(args.done());
  return import_archive(context, path, "/snapshots/import", out);
}

const Command kSnapshotImport{
    .name = "snapshot import",
    .usage = "snapshot import FILE",
    .help =
        "Take in a snapshot that 'snapshot export' wrote, here or elsewhere; - reads stdin.\n"
        "\n"
        "The image it lies above must be here, under the same name. A file that was made "
        "elsewhere\n"
        "says what is in the sandbox, and not what it may reach: sandboxes made of it get the\n"
        "network of this engine's default, or the one they ask for.",
    .run = run};

}  // namespace glovebox::cli

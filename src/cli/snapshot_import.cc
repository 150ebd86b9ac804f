#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/image_report.h"
#include "cli/local_file.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(path, args.positional("FILE"));
  TRY_DO(args.done());
  TRY(file, SourceFile::open({"", path}));
  TRY(engine, EngineClient::open(context));
  const std::optional<std::uint64_t> whole = file.length();
  Meter meter("import", whole.value_or(0));
  std::uint64_t sent = 0;
  auto next = [&]() -> Result<std::string> {
    TRY(piece, file.read());
    meter.show(sent += piece.size());
    return piece;
  };
  auto record = engine->upload("POST", "/snapshots/import", next, whole);
  meter.end();
  if (!record) return std::move(record.error()).with(str("import ", path));
  out.object(*record);
  return 0;
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

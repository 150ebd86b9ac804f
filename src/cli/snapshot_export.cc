#include <unistd.h>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/local_file.h"
#include "cli/meter.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(snapshot, args.positional("SNAPSHOT"));
  TRY(path, args.positional("FILE"));
  TRY_DO(args.done());
  if (path == "-" && ::isatty(STDOUT_FILENO) == 1)
    return usage_error("a terminal is no place for a compressed file: name one, or use a pipe");
  TRY(engine, EngineClient::open(context));
  std::optional<TargetFile> file;
  Meter meter("export", 0);
  std::uint64_t got = 0;
  // The file is made with the first piece: what is refused leaves none.
  auto take = [&](std::string_view piece) -> Result<void> {
    if (!file) {
      TRY(made, TargetFile::create({"", path}, snapshot + ".snapshot.tar.zst"));
      file.emplace(std::move(made));
    }
    meter.show(got += piece.size());
    return file->write(piece);
  };
  auto done = engine->download(str("/snapshots/", http::encode_path(snapshot), "/export"), take);
  meter.end();
  if (!done) return std::move(done.error()).with(str("export ", snapshot));
  if (!file) return Error{Code::internal, "the engine sent nothing"};
  TRY_DO(file->commit());
  if (path != "-") out.note(str(human_bytes(got), " written to ", printable(path)));
  return 0;
}

const Command kSnapshotExport{
    .name = "snapshot export",
    .usage = "snapshot export SNAPSHOT FILE",
    .help =
        "Write a snapshot to one compressed file, for 'snapshot import' here or elsewhere. - is\n"
        "stdout; a file appears only once it is complete.\n"
        "\n"
        "It holds what the sandbox changed of its image, and not the image. Whatever programs\n"
        "wrote into files is in it, secrets too. 'zstd -dc FILE | tar t' lists it.",
    .run = run};

}  // namespace glovebox::cli

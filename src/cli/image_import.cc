#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/image_report.h"
#include "cli/local_file.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(path, args.positional("FILE"));
  TRY_DO(args.done());
  TRY(file, SourceFile::open({"", path}));
  TRY(engine, EngineClient::open(context));
  std::string target =
      "/images?source=" + http::encode_query(path == "-" ? "stdin" : base_name(path));
  if (auto name = args.option("--name")) target += "&name=" + http::encode_query(*name);
  const std::optional<std::uint64_t> whole = file.length();
  Meter meter("import", whole.value_or(0));
  std::uint64_t sent = 0;
  auto next = [&]() -> Result<std::string> {
    TRY(piece, file.read());
    meter.show(sent += piece.size());
    return piece;
  };
  auto image = engine->upload("POST", target, next, whole);
  meter.end();
  if (!image) return std::move(image.error()).with(str("import ", path));
  out.object(*image);
  return 0;
}

const Command kImageImport{
    .name = "image import",
    .usage = "image import FILE [--name=NAME]",
    .help =
        "Make an image of an archive: a root file system as a tar, an OCI layout, or what 'docker\n"
        "save' writes; plain or compressed with gzip, bzip2, xz or zstd. - reads stdin.\n"
        "\n"
        "A root tarball needs --name; the others are called what they say, unless told otherwise.\n"
        "Devices, absolute names and names with '..' are refused.",
    .run = run};

}  // namespace glovebox::cli

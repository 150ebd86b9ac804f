#include "cli/archive_import.h"
#include "cli/commands.h"
#include "cli/local_file.h"
#include "http/client.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(path, args.positional("FILE"));
  TRY_DO(args.done());
  std::string target =
      "/images?source=" + http::encode_query(path == "-" ? "stdin" : base_name(path));
  if (auto name = args.option("--name")) target += "&name=" + http::encode_query(*name);
  return import_archive(context, path, target, out);
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

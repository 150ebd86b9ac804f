#include <boost/json.hpp>
#include <filesystem>

#include "cli/archive_import.h"
#include "cli/build_context.h"
#include "cli/commands.h"
#include "cli/image_job.h"
#include "cli/local_file.h"
#include "http/client.h"

namespace glovebox::cli {

namespace json = boost::json;

// Made by the engine, of packages.
static Result<int> import_debian(Context& context, const Args& args, Output& out) {
  json::object body;
  for (auto [option, member] : {std::pair{"--name", "name"}, {"--suite", "suite"}})
    if (auto value = args.option(option)) body[member] = *value;
  auto packages = args.options("--include");
  if (!packages.empty()) body["packages"] = json::array(packages.begin(), packages.end());
  if (args.flag("--unsigned")) body["unsigned"] = true;
  TRY(engine, EngineClient::open(context));
  if (auto mirror = args.option("--mirror")) {
    if (mirror->contains("://")) {
      body["mirror"] = *mirror;
    } else {
      // Said before packages are sent, not out of apt's words after it.
      const std::string suite = args.option("--suite").value_or("bookworm");
      std::error_code wrong;
      if (std::filesystem::is_directory(*mirror, wrong) &&
          !std::filesystem::is_directory(str(*mirror, "/dists/", suite), wrong))
        return Error{Code::not_found, str(*mirror, " is no mirror of ", suite, ": there is no ",
                                          "dists/", suite, " in it")};
      TRY(sent, send_context(*engine, *mirror));
      body["context"] = sent;
    }
  }
  TRY(image, follow_image_job(*engine, "/images/debian", json::serialize(body), out));
  out.object(image);
  return 0;
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(path, args.positional("FILE"));
  TRY_DO(args.done());
  if (path == "debian") return import_debian(context, args, out);
  for (auto option : {"--suite", "--mirror", "--include"})
    if (args.option(option)) return usage_error(str(option, ": goes with 'image import debian'"));
  if (args.flag("--unsigned")) return usage_error("--unsigned: goes with 'image import debian'");
  std::string target =
      "/images?source=" + http::encode_query(path == "-" ? "stdin" : base_name(path));
  if (auto name = args.option("--name")) target += "&name=" + http::encode_query(*name);
  return import_archive(context, path, target, out);
}

const Command kImageImport{
    .name = "image import",
    .usage =
        "image import FILE [--name=NAME] [--suite=SUITE] [--mirror=URL] [--include=PACKAGE]... "
        "[--unsigned]",
    .help =
        "Make an image of an archive, or a minimal Debian.\n"
        "\n"
        "FILE is a root file system as a tar, an OCI layout, or what 'docker save' writes; plain\n"
        "or compressed with gzip, bzip2, xz or zstd. - reads stdin.\n"
        "A root tarball needs --name; the others are called what they say, unless told otherwise.\n"
        "Devices, absolute names and names with '..' are refused.\n"
        "\n"
        "The FILE 'debian' is none (./debian would be): a minimal Debian is made here, of signed\n"
        "packages, by mmdebstrap, which this machine must have. SUITE is bookworm unless told\n"
        "otherwise; --include adds packages; --mirror is the address of another mirror, or a\n"
        "directory that is one, whose packages need not be signed with --unsigned.",
    .run = run};

}  // namespace glovebox::cli

#include <boost/json.hpp>

#include "cli/build_context.h"
#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/image_job.h"
#include "cli/local_file.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<std::string> read_whole(const std::string& path) {
  TRY(file, SourceFile::open({"", path}));
  std::string text;
  for (;;) {
    TRY(piece, file.read());
    if (piece.empty()) return text;
    if (text.size() + piece.size() > (1 << 20))
      return Error{Code::too_large, str(path, " is too long for a Dockerfile")};
    text += piece;
  }
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(folder, args.positional("FOLDER"));
  TRY_DO(args.done());
  auto name = args.option("--name");
  if (!name) return usage_error("--name: what is the image to be called?");
  std::string file = args.option("--file").value_or(folder + "/Dockerfile");
  json::object body{{"name", *name}};
  TRY(dockerfile, read_whole(file), "the Dockerfile");
  body["dockerfile"] = dockerfile;
  if (auto target = args.option("--target")) body["target"] = *target;
  if (args.flag("--fresh")) body["fresh"] = true;
  json::object values;
  for (const auto& text : args.options("--build-arg")) {
    auto equals = text.find('=');
    if (equals == 0 || equals == text.npos)
      return usage_error(str("--build-arg: '", text, "' is not NAME=VALUE"));
    values[text.substr(0, equals)] = text.substr(equals + 1);
  }
  if (!values.empty()) body["args"] = std::move(values);
  TRY(engine, EngineClient::open(context));
  TRY(sent, send_context(*engine, folder));
  body["context"] = sent;
  TRY(image, follow_image_job(*engine, "/images/builds", json::serialize(body), out), "build ",
      *name);
  out.object(image);
  return 0;
}

const Command kImageBuild{
    .name = "image build",
    .usage =
        "image build FOLDER --name=NAME [--file=DOCKERFILE] [--target=STAGE] "
        "[--build-arg=NAME=VALUE]... [--fresh]",
    .help =
        "Build an image from the Dockerfile in FOLDER; COPY and ADD take files from there.\n"
        "\n"
        "Known are FROM (also stages and 'scratch'; 'host' is this machine's own image), RUN, "
        "COPY,\n"
        "ADD of local files, ENV, WORKDIR, USER, ENTRYPOINT, CMD, ARG and LABEL. RUN runs in a "
        "sandbox.\n"
        "Steps done before are not done again, unless --fresh is given. What .dockerignore names "
        "is\n"
        "not sent.",
    .run = run};

}  // namespace glovebox::cli

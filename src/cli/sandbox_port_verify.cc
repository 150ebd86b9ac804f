#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/local_file.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

constexpr std::size_t kMost = 4096;

// One secret on each line: a secret is never on the command line, where everybody sees it.
Result<json::array> read_secrets(const std::string& path) {
  TRY(file, SourceFile::open({.box = "", .path = path}));
  std::string text;
  for (;;) {
    TRY(piece, file.read());
    if (piece.empty()) break;
    text += piece;
    if (text.size() > kMost) return Error{Code::too_large, "these are no secrets of a webhook"};
  }
  json::array secrets;
  for (const std::string& line : split(text, '\n'))
    if (!trim(line).empty()) secrets.emplace_back(trim(line));
  return secrets;
}

Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  TRY(text, args.positional("PORT"));
  TRY_DO(args.done());
  auto port = parse_int<int>(text);
  if (!port || *port < 1 || *port > 65535)
    return usage_error(str("'", text, "' is no port: a whole number from 1 to 65535"));
  auto file = args.option("--secret-file");
  if (file.has_value() == args.flag("--off"))
    return usage_error("give --secret-file=FILE ('-': standard input), or --off");
  json::object body;
  if (file) {
    TRY(secrets, read_secrets(*file), "read ", *file);
    if (secrets.empty()) return Error{Code::invalid, str("there is no secret in ", *file)};
    body = {{"verify", "standard-webhooks"}, {"secrets", std::move(secrets)}};
  }
  TRY(engine, EngineClient::open(context));
  TRY(changed,
      engine->request("PUT", str("/sandboxes/", http::encode_path(name), "/ports/", *port),
                      json::serialize(body)),
      "port ", *port, " of ", name);
  out.object(changed);
  return 0;
}

}  // namespace

const Command kSandboxPortVerify{
    .name = "sandbox port verify",
    .usage = "sandbox port verify NAME PORT [--secret-file=FILE] [--off]",
    .help =
        "Let only signed deliveries of webhooks come to a port of a sandbox.\n"
        "\n"
        "The signature (Standard Webhooks) is checked before anything wakes, and each delivery\n"
        "comes in once; the sandbox needs no secret. FILE has one secret (whsec_…) on each line,\n"
        "up to four, any of which will do; '-' is standard input. The port is exposed by this.\n"
        "--off: it asks for a token again.",
    .run = run};

}  // namespace glovebox::cli

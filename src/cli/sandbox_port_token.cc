#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/sandbox_port.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  TRY(text, args.positional("PORT"));
  TRY(port, port_number(text));
  TRY(life, args.duration("--for", std::chrono::hours(1)));
  TRY_DO(args.done());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(life).count();
  if (seconds < 1) return usage_error("--for: at least a second");
  TRY(engine, EngineClient::open(context));
  TRY(made,
      engine->request("POST",
                      str("/sandboxes/", http::encode_path(name), "/ports/", port, "/token"),
                      json::serialize(json::object{{"expires_secs", seconds}})),
      "token for port ", port, " of ", name);
  if (out.json()) {
    out.object(made);
  } else {
    out.text(str(std::string_view(made["token"].as_string()), '\n'));
  }
  return 0;
}

const Command kSandboxPortToken{
    .name = "sandbox port token",
    .usage = "sandbox port token NAME PORT [--for=TIME]",
    .help =
        "Print a token for one port of a sandbox, for 'Authorization: Bearer TOKEN'.\n"
        "\n"
        "It is good for an hour, or for --for (10m, 12h, 30d), and dies with the sandbox. The "
        "program\n"
        "inside never sees it. One that was given away cannot be taken back before that.",
    .run = run};

}  // namespace glovebox::cli

#include <algorithm>
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/sandbox_port.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  auto given = args.remaining();
  if (given.empty()) return usage_error("give the ports");
  TRY(engine, EngineClient::open(context));
  TRY(record, engine->get(name), "show ", name);
  std::vector<int> ports = exposed_ports(record);
  for (const std::string& text : given) {
    TRY(port, port_number(text));
    if (std::erase(ports, port) == 0)
      return Error{Code::not_found, str("port ", port, " of ", name, " is not exposed")};
  }
  json::object change{{"exposed_ports", json::array(ports.begin(), ports.end())}};
  // The next port that is exposed must not be open because one before it was.
  if (ports.empty()) change["allow_unauthenticated_access"] = false;
  TRY(changed, engine->update(name, json::serialize(change)), "ports of ", name);
  out.object({{"id", changed["id"]}, {"exposed_ports", changed["exposed_ports"]}});
  return 0;
}

const Command kSandboxPortRm{
    .name = "sandbox port rm",
    .usage = "sandbox port rm NAME PORT...",
    .help =
        "Shut ports of a sandbox for the outside.\n"
        "\n"
        "WebSockets that are open to them are cut. After the last one a port that is exposed again "
        "asks for\n"
        "a token.",
    .run = run};

}  // namespace glovebox::cli

#include <algorithm>
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/json_text.h"
#include "cli/sandbox_port.h"

namespace glovebox::cli {

namespace json = boost::json;

Result<int> port_number(const std::string& text) {
  auto port = parse_int<int>(text);
  if (port && *port >= 1 && *port <= 65535) return *port;
  return usage_error(str("'", text, "' is no port: a whole number from 1 to 65535"));
}

std::vector<int> exposed_ports(const json::object& record) {
  std::vector<int> ports;
  const json::value* list = record.if_contains("exposed_ports");
  if (!list || !list->is_array()) return ports;
  for (const json::value& port : list->get_array())
    if (port.is_int64()) ports.push_back(static_cast<int>(port.get_int64()));
  return ports;
}

std::string port_label(const json::object& record, std::string_view port) {
  std::string name = text_of(record, "name");
  if (name.empty()) name = text_of(record, record.contains("id") ? "id" : "sandbox_id");
  return str(port, '-', name);
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  std::vector<int> wanted;
  for (const std::string& text : args.remaining()) {
    TRY(port, port_number(text));
    wanted.push_back(port);
  }
  if (wanted.empty()) return usage_error("give the ports");
  if (args.flag("--open") && args.flag("--token"))
    return usage_error("--open and --token exclude each other");
  TRY(engine, EngineClient::open(context));
  TRY(record, engine->get(name), "show ", name);
  std::vector<int> ports = exposed_ports(record);
  for (int port : wanted)
    if (std::ranges::find(ports, port) == ports.end()) ports.push_back(port);
  json::object change{{"exposed_ports", json::array(ports.begin(), ports.end())}};
  if (args.flag("--open")) change["allow_unauthenticated_access"] = true;
  if (args.flag("--token")) change["allow_unauthenticated_access"] = false;
  TRY(changed, engine->update(name, json::serialize(change)), "expose ports of ", name);
  const json::value* open = changed.if_contains("allow_unauthenticated_access");
  json::array urls;
  for (int port : exposed_ports(changed))
    if (std::string url = ingress_url(context, port_label(changed, str(port))); !url.empty())
      urls.emplace_back(url);
  out.object({{"id", changed["id"]},
              {"exposed_ports", changed["exposed_ports"]},
              {"access", open && open->is_bool() && open->get_bool() ? "open" : "token"},
              {"urls", std::move(urls)}});
  return 0;
}

const Command kSandboxPortExpose{
    .name = "sandbox port expose",
    .usage = "sandbox port expose NAME PORT... [--open] [--token]",
    .help =
        "Let requests from outside come to ports of a sandbox, through the ingress.\n"
        "\n"
        "Who comes needs a token ('glovebox sandbox port token'); with --open nobody does. That "
        "holds for\n"
        "all ports of the sandbox, and stays as it was where neither is given. The program inside "
        "listens\n"
        "on its loopback; the sandbox needs no network. PORT-NAME.DOMAIN is where to find it.",
    .run = run};

}  // namespace glovebox::cli

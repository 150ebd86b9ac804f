#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/sandbox_port.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(record, engine->get(name), "show ", name);
  const json::value* open = record.if_contains("allow_unauthenticated_access");
  const char* access = open && open->is_bool() && open->get_bool() ? "open" : "token";
  const json::value* given = record.if_contains("name");
  const json::value& label =
      given && given->is_string() && !given->get_string().empty() ? *given : record["id"];
  json::array items;
  for (int port : exposed_ports(record))
    items.push_back(json::object{{"port", port},
                                 {"access", access},
                                 {"host", str(port, '-', std::string_view(label.get_string()))}});
  out.list(items,
           {{"PORT", [](const json::object& item) { return json::serialize(item.at("port")); }},
            {"ACCESS",
             [](const json::object& item) { return std::string(item.at("access").as_string()); }},
            {"HOST (below the ingress's domain)",
             [](const json::object& item) { return std::string(item.at("host").as_string()); }}});
  return 0;
}

const Command kSandboxPortLs{
    .name = "sandbox port ls",
    .usage = "sandbox port ls NAME",
    .help = "List the ports of a sandbox that may be reached from outside.",
    .run = run};

}  // namespace glovebox::cli

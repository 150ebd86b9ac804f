#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/json_text.h"
#include "cli/sandbox_port.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(record, engine->get(name), "show ", name);
  TRY(listed, engine->request("GET", str("/sandboxes/", http::encode_path(name), "/ports")),
      "ports of ", name);
  json::array items;
  const json::value* ports = listed.if_contains("ports");
  if (ports && ports->is_array())
    for (const json::value& port : ports->get_array()) {
      if (!port.is_object()) continue;
      json::object item = port.get_object();
      std::string label = port_label(record, text_of(item, "port"));
      item["url"] = ingress_url(context, label);
      item["host"] = std::move(label);
      items.push_back(std::move(item));
    }
  out.list(items, {{"PORT", [](const json::object& item) { return text_of(item, "port"); }},
                   {"ACCESS", [](const json::object& item) { return text_of(item, "access"); }},
                   {"HOST (below the ingress's domain)",
                    [](const json::object& item) { return text_of(item, "host"); }},
                   {"URL", [](const json::object& item) { return text_of(item, "url"); }}});
  return 0;
}

const Command kSandboxPortLs{
    .name = "sandbox port ls",
    .usage = "sandbox port ls NAME",
    .help = "List the ports of a sandbox that may be reached from outside.",
    .run = run};

}  // namespace glovebox::cli

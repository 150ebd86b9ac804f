#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(sandbox, args.positional("NAME"));
  TRY_DO(args.done());
  TRY(times, args.number("--times", 1, 128, 1));
  TRY(engine, EngineClient::open(context));
  TRY(answer,
      engine->request("POST",
                      str("/sandboxes/", http::encode_path(sandbox), "/copy?times=", times)),
      "fork ", sandbox);
  const json::value* copies = answer.if_contains("sandboxes");
  if (!copies || !copies->is_array())
    return Error{Code::internal, "the engine's answer has no 'sandboxes'"};
  auto text = [](const json::object& record, std::string_view name) {
    const json::value* value = record.if_contains(name);
    return value && value->is_string() ? std::string(value->as_string()) : "";
  };
  out.list(copies->as_array(),
           {{"ID", [text](auto& r) { return text(r, "sandbox_id"); }},
            {"STATE", [text](auto& r) { return text(r, "status"); }},
            {"ERROR", [text](auto& r) { return printable(text(r, "error_details")); }}});
  for (const json::value& copy : copies->as_array())
    if (copy.is_object() && text(copy.as_object(), "status") == "failed") return 1;
  return 0;
}

const Command kSandboxFork{
    .name = "sandbox fork",
    .usage = "sandbox fork NAME [--times=N]",
    .help =
        "Make new sandboxes with the files a sandbox has now.\n"
        "\n"
        "Each has an id, a host name and a machine id of its own and starts with the entrypoint;\n"
        "processes are not copied. Exposed ports and settings are those of the source.",
    .run = run};

}  // namespace glovebox::cli

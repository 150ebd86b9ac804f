#include <boost/json.hpp>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::string member(const json::object& volume, std::string_view name) {
  const json::value* value = volume.if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : "";
}
static std::int64_t number(const json::object& volume, std::string_view name) {
  const json::value* value = volume.if_contains(name);
  return value && value->is_int64() ? value->as_int64() : 0;
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(answer, engine->request("GET", "/volumes"));
  json::value* volumes = answer.if_contains("volumes");
  if (!volumes || !volumes->is_array())
    return Error{Code::internal, "the engine's list has no 'volumes'"};
  std::int64_t now = system_clock().unix_ms();
  out.list(volumes->as_array(),
           {{"ID", [](auto& volume) { return member(volume, "id"); }},
            {"NAME", [](auto& volume) { return member(volume, "name"); }},
            {"SIZE",
             [](auto& volume) {
               return human_bytes(static_cast<std::uint64_t>(number(volume, "size_mb")) << 20);
             }},
            {"AGE", [now](auto& volume) { return human_age(now - number(volume, "created_at")); }},
            {"SANDBOXES", [](auto& volume) {
               const json::value* users = volume.if_contains("sandboxes");
               return str(users && users->is_array() ? users->as_array().size() : 0);
             }}});
  return 0;
}

const Command kVolumeLs{.name = "volume ls",
                        .usage = "volume ls",
                        .help = "List the volumes, newest first.",
                        .run = run};

}  // namespace glovebox::cli

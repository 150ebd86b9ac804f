#include <boost/json.hpp>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::string member(const json::object& record, std::string_view name) {
  const json::value* value = record.if_contains(name);
  if (!value || value->is_null()) return "";
  if (value->is_string()) return std::string(value->as_string());
  if (value->is_double()) return str(value->as_double());
  return json::serialize(*value);
}

static std::string resource(const json::object& record, std::string_view name) {
  const json::value* resources = record.if_contains("resources");
  return resources && resources->is_object() ? member(resources->as_object(), name) : "";
}

static std::vector<Column> columns() {
  std::int64_t now = system_clock().unix_ms();
  return {
      {"ID", [](auto& r) { return r.contains("id") ? member(r, "id") : member(r, "sandbox_id"); }},
      {"NAME", [](auto& r) { return member(r, "name"); }},
      {"STATE", [](auto& r) { return member(r, "status"); }},
      {"IMAGE", [](auto& r) { return member(r, "image"); }},
      {"CPUS", [](auto& r) { return resource(r, "cpus"); }},
      {"MEMORY",
       [](auto& r) {
         auto mebibytes = parse_int<std::uint64_t>(resource(r, "memory_mb"));
         return mebibytes ? human_bytes(*mebibytes << 20) : "";
       }},
      {"AGE", [now](auto& r) {
         auto created = parse_int<std::int64_t>(member(r, "created_at"));
         return created ? human_age(now - *created) : "";
       }}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(records, args.flag("--all") ? engine->list_all() : engine->list_live(), "list");
  out.list(records, columns());
  return 0;
}

const Command kSandboxLs{
    .name = "sandbox ls",
    .usage = "sandbox ls [--all]",
    .help = "List the sandboxes, newest first. With --all the terminated ones too.",
    .run = run};

}  // namespace glovebox::cli

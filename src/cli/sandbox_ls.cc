#include <boost/json.hpp>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::string resource(const json::object& record, std::string_view name) {
  const json::value* resources = record.if_contains("resources");
  return resources && resources->is_object() ? text_of(resources->get_object(), name) : "";
}

// A record says what was asked for. Where that was nothing it is the default of then, which need
// not be that of now.
static std::string image_of(const json::object& record) {
  std::string image = text_of(record, "image");
  return image.empty() ? "(default)" : image;
}

static std::vector<Column> columns() {
  std::int64_t now = system_clock().unix_ms();
  return {{"ID", [](auto& r) { return text_of(r, r.contains("id") ? "id" : "sandbox_id"); }},
          {"NAME", [](auto& r) { return text_of(r, "name"); }},
          {"STATE", [](auto& r) { return text_of(r, "status"); }},
          {"IMAGE", image_of},
          {"CPUS", [](auto& r) { return resource(r, "cpus"); }},
          {"MEMORY",
           [](auto& r) {
             auto mebibytes = parse_int<std::uint64_t>(resource(r, "memory_mb"));
             return mebibytes ? human_bytes(*mebibytes << 20) : "";
           }},
          {"AGE", [now](auto& r) {
             auto created = parse_int<std::int64_t>(text_of(r, "created_at"));
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

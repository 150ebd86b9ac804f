#include <boost/json.hpp>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/engine_client.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::string member(const json::object& record, std::string_view name) {
  const json::value* value = record.if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : "";
}

static std::vector<Column> columns() {
  std::int64_t now = system_clock().unix_ms();
  auto number = [](const json::object& record, std::string_view name) {
    const json::value* value = record.if_contains(name);
    return value && value->is_int64() ? value->as_int64() : 0;
  };
  return {{"ID", [](auto& r) { return member(r, "id"); }},
          {"SANDBOX",
           [](auto& r) {
             std::string name = member(r, "sandbox_name");
             return name.empty() ? member(r, "sandbox_id") : name;
           }},
          {"STATUS", [](auto& r) { return member(r, "status"); }},
          {"PARENT", [](auto& r) { return member(r, "parent_id"); }},
          {"SIZE",
           [number](auto& r) {
             return human_bytes(static_cast<std::uint64_t>(number(r, "size_bytes")));
           }},
          {"AGE", [now, number](auto& r) { return human_age(now - number(r, "created_at")); }}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(answer, engine->request("GET", "/snapshots"), "list");
  const json::value* list = answer.if_contains("snapshots");
  if (!list || !list->is_array())
    return Error{Code::internal, "the engine's list has no 'snapshots'"};
  out.list(list->as_array(), columns());
  return 0;
}

const Command kSnapshotLs{.name = "snapshot ls",
                          .usage = "snapshot ls",
                          .help = "List the snapshots, newest first.",
                          .run = run};

}  // namespace glovebox::cli

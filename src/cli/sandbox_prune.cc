#include <algorithm>
#include <boost/json.hpp>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/json_text.h"
#include "cli/sandbox_port.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

constexpr Millis kUsualAge = std::chrono::days(7);

std::int64_t number_of(const json::object& record, std::string_view name) {
  return parse_int<std::int64_t>(text_of(record, name)).value_or(0);
}

// When anything was last done in it; one that never was used counts from its making.
std::int64_t last_used(const json::object& record) {
  return std::max(number_of(record, "last_activity_at"), number_of(record, "created_at"));
}

struct Wanted {
  Millis age;
  std::string prefix;
};

// One with an open port waits for callers, such as the receiver of webhooks: that nobody has called
// for a while does not mean that nobody will.
bool is_stale(const json::object& record, const Wanted& wanted) {
  if (wanted.prefix.empty() && !exposed_ports(record).empty()) return false;
  return text_of(record, "status") == "suspended" &&
         text_of(record, "name").starts_with(wanted.prefix) &&
         system_clock().unix_ms() - last_used(record) >= wanted.age.count();
}

// Somebody may have woken it since it was listed: then it is theirs.
Result<bool> remove_if_stale(EngineClient& engine, const std::string& id, const Wanted& wanted) {
  auto now = engine.get(id);
  if (!now && (now.error().code == Code::not_found || now.error().code == Code::gone)) return false;
  if (!now) return std::move(now.error());
  if (!is_stale(*now, wanted)) return false;
  TRY_DO(engine.remove(id));
  return true;
}

Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(age, args.duration("--older-than", kUsualAge));
  const Wanted wanted{.age = age, .prefix = args.option("--prefix").value_or("")};
  const bool dry = args.flag("--dry-run");
  TRY(engine, EngineClient::open(context));
  TRY(records, engine->list_live(), "list");
  json::array gone;
  int code = 0;
  for (const json::value& one : records) {
    const json::object& record = one.as_object();
    if (!is_stale(record, wanted)) continue;
    const std::string id = text_of(record, "id");
    if (!dry) {
      auto removed = remove_if_stale(*engine, id, wanted);
      if (!removed) {
        out.note(str("glovebox: remove ", id, ": ", removed.error().what));
        if (code == 0) code = exit_code(removed.error());
      }
      if (!removed || !*removed) continue;
    }
    gone.push_back({{"id", id},
                    {"name", text_of(record, "name")},
                    {"last_used_at", last_used(record)},
                    {"removed", !dry}});
  }
  out.list(gone, {{"ID", [](auto& r) { return text_of(r, "id"); }},
                  {"NAME", [](auto& r) { return printable(text_of(r, "name")); }},
                  {"UNUSED", [](auto& r) {
                     return human_age(system_clock().unix_ms() - number_of(r, "last_used_at"));
                   }}});
  if (!out.json()) out.note(str(gone.size(), dry ? " would be removed" : " removed"));
  return code;
}

}  // namespace

const Command kSandboxPrune{
    .name = "sandbox prune",
    .usage = "sandbox prune [--older-than=TIME] [--prefix=TEXT] [--dry-run]",
    .help =
        "Remove suspended sandboxes that nobody has used for a while, but none with open ports:\n"
        "they wait for callers.\n"
        "\n"
        "  --older-than=TIME  since when (7d)\n"
        "  --prefix=TEXT      only those whose name begins so, with open ports too: 'agent-' are\n"
        "                     those of sessions\n"
        "  --dry-run          only say which\n"
        "What they hold is lost; volumes and snapshots stay. Sandboxes of sessions go by "
        "themselves\n"
        "(orchestrator.keep_boxes, keep_boxes_secs).",
    .run = run};

}  // namespace glovebox::cli

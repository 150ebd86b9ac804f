// What is ours alone: status, keys of environments, pruning, metrics. Unknown members are refused
// by name here.
#include <algorithm>
#include <set>

#include "base/log.h"
#include "base/metrics.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "brain/ids.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

metrics::Gauge g_sessions("brain_sessions", "Sessions.");
metrics::Gauge g_running("brain_sessions_running", "Sessions with a turn under way.");
metrics::Gauge g_queued("brain_work_queued", "Work items that wait for a worker.");
metrics::Gauge g_held("brain_work_held", "Work items that a worker holds.");
metrics::Gauge g_tokens("brain_sessions_tokens",
                        "Tokens of work items that are good or lapse soon.");
metrics::Counter g_pruned("brain_sessions_pruned_total", "Sessions removed by age.");

constexpr std::size_t kMaxKeyName = 256;
constexpr std::int64_t kMaxAgeSecs = 1'000'000'000;

Result<void> only(const json::object& body, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : body)
    if (std::ranges::find(known, std::string_view(key.data(), key.size())) == known.end())
      return Error{Code::invalid,
                   str("there is no member ", std::string_view(key.data(), key.size()))};
  return ok;
}

std::string key_json(const KeyRow& row, std::string_view key = "") {
  return str(R"({"id":")", row.id, R"(","type":"environment_key","environment_id":")",
             row.environment_id, R"(","name":)", text_json(row.name),
             key.empty() ? "" : str(R"(,"key":)", text_json(key)), R"(,"hint":)",
             text_json(row.hint), R"(,"embedded":)", row.embedded, R"(,"created_at":)",
             time_json(row.created_at), R"(,"revoked_at":)", time_json(row.revoked_at), '}');
}

}  // namespace

Reply brain_status(Call call) {
  ApiState& api = call.api;
  CO_TRY(environment, api.store.setting("default_environment_id"));
  CO_TRY(agent, api.store.setting("default_agent_id"));
  co_return http::json(
      200,
      str(R"({"version":")", GLOVEBOX_VERSION, R"(","instance":)", text_json(api.options.instance),
          R"(,"model":{"kind":)", text_json(api.model.kind()), R"(,"about":)",
          text_json(api.model.describe()), R"(},"default_environment_id":)", text_json(environment),
          R"(,"default_agent_id":)", text_json(agent), R"(,"sessions_running":)",
          api.sessions.running(), R"(,"streams":)", api.log.followers(), '}'));
}

// How one who has nothing but a key learns what it is for.
Reply credential(Call call) {
  std::string kind = "api", more;
  if (call.who.kind != Who::api) {
    kind = "environment";
    more = str(R"(,"environment_id":")", call.who.environment_id, '"');
  }
  if (call.who.kind == Who::session) {
    kind = "session";
    more +=
        str(R"(,"session_id":")", call.who.session_id, R"(","work_id":")", call.who.work_id, '"');
  }
  co_return http::json(200, str(R"({"kind":")", kind, '"', more, '}'));
}

Reply create_key(Call call) {
  CO_TRY(environment, environment_of(call));
  if (environment.archived_at)
    co_return Error{Code::invalid, str("environment ", environment.id, " is archived"),
                    "environment_archived"};
  CO_TRY(parsed, body_of(call.request));
  CO_TRY_DO(only(parsed, {"name"}));
  const json::value whole(std::move(parsed));
  CO_TRY(body, Members::of(whole));
  CO_TRY(label, text_up_to(body, "name", kMaxKeyName));
  const Secret key(new_secret("gb-env"));
  KeyRow row{.id = new_id("ekey"),
             .environment_id = environment.id,
             .name = label.value_or(""),
             .hash = hash_of(key.reveal()),
             .hint = hint_of(key.reveal()),
             .created_at = now_us()};
  CO_TRY_DO(call.api.store.add_key(row));
  log::info("key.created", {{"key", row.id}, {"environment", environment.id}});
  co_return http::json(200, key_json(row, key.reveal()));
}

Reply list_keys(Call call) {
  CO_TRY(environment, environment_of(call));
  CO_TRY(rows, call.api.store.keys(environment.id));
  std::string data;
  for (const KeyRow& row : rows) data += str(data.empty() ? "" : ",", key_json(row));
  co_return http::json(200, str(R"({"data":[)", data, "]}"));
}

Reply revoke_key(Call call) {
  CO_TRY(environment, environment_of(call));
  CO_TRY(rows, call.api.store.keys(environment.id));
  const std::string id = call.param("key");
  auto found = std::ranges::find(rows, id, &KeyRow::id);
  if (found == rows.end())
    co_return Error{Code::not_found, str("environment ", environment.id, " has no key ", id)};
  if (found->embedded && !found->revoked_at)
    co_return Error{Code::invalid,
                    "this is the key of the orchestrator that came with this brain: exchange its "
                    "key file instead"};
  CO_TRY_DO(call.api.store.revoke_key(id, now_us()));
  log::info("key.revoked", {{"key", id}, {"environment", environment.id}});
  co_return http::json(200, str(R"({"id":")", id, R"(","type":"environment_key_revoked"})"));
}

Task<Pruned> prune_sessions(Store& store, Sessions& sessions, Micros before) {
  Pruned pruned;
  std::set<std::string> refused;
  for (;;) {
    // Looked for anew each time: whoever was stale a moment ago may have been spoken to since.
    CO_TRY(stale, store.stale_sessions(before, static_cast<int>(refused.size()) + 1));
    auto next = std::ranges::find_if(stale, [&](auto& id) { return !refused.contains(id); });
    if (next == stale.end()) break;
    auto events = store.count_events(*next);
    auto removed = sessions.remove(*next);
    if (removed) {
      ++pruned.sessions;
      pruned.events += events.value_or(0);
    } else {
      log::warn("prune.refused", {{"session", *next}, {"error", removed.error().what}});
      refused.insert(*next);
    }
    CO_TRY_DO(co_await net::yield());
  }
  g_pruned.add(static_cast<std::uint64_t>(pruned.sessions));
  if (pruned.sessions)
    log::info("brain.pruned", {{"sessions", pruned.sessions}, {"events", pruned.events}});
  co_return pruned;
}

Reply prune(Call call) {
  CO_TRY(parsed, body_of(call.request));
  CO_TRY_DO(only(parsed, {"older_than_secs"}));
  const json::value whole(std::move(parsed));
  CO_TRY(body, Members::of(whole));
  CO_TRY(age, body.integer("older_than_secs", 0, kMaxAgeSecs));
  if (!age) co_return body.wrong("older_than_secs", "is required");
  CO_TRY(pruned,
         co_await prune_sessions(call.api.store, call.api.sessions, now_us() - *age * 1'000'000));
  co_return http::json(200, str(R"({"sessions_removed":)", pruned.sessions, R"(,"events_removed":)",
                                pruned.events, '}'));
}

Reply metrics_page(Call call) {
  CO_TRY(totals, call.api.store.totals());
  g_sessions.set(totals.sessions);
  g_running.set(totals.sessions_running);
  g_queued.set(totals.queued);
  g_held.set(totals.held);
  g_tokens.set(totals.tokens);
  http::Response response = http::text(200, metrics::render());
  response.headers.set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
  co_return response;
}

}  // namespace glovebox::brain

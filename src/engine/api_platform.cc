// What clients ask of the platform around sandboxes: who they are, and what has ended. A machine of
// one's own has one organization with one project, and keeps no secrets for others.
#include <boost/json.hpp>

#include "base/metrics.h"
#include "engine/api_state.h"
#include "net/task.h"
#include "wire/to_json.h"

namespace glovebox::engine {

using http::Request;
namespace json = boost::json;

Reply introspect_key(ApiState& api, Request) {
  co_return http::json(200, json::serialize(json::object{{"id", str("key_", api.engine.instance())},
                                                         {"organizationId", "org_glovebox"},
                                                         {"projectId", "project_glovebox"}}));
}

Reply get_project(ApiState&, Request request) {
  co_return http::json(
      200, json::serialize(json::object{{"id", valid_utf8(request.param("p"))},
                                        {"name", "glovebox"},
                                        {"organizationId", valid_utf8(request.param("o"))}}));
}

Reply list_secrets(ApiState&, Request) {
  co_return http::json(200, R"({"items":[],"pagination":{"next":null,"prev":null,"total":0}})");
}

Reply no_secrets(ApiState&, Request) {
  co_return Error{Code::unsupported,
                  "secrets are not kept for sandboxes here: what a sandbox may use is given to it "
                  "without its seeing it",
                  "NOT_IMPLEMENTED"};
}

Reply list_archived(ApiState& api, Request request) {
  CO_TRY(query, list_query(request));
  query.status = "terminated";
  CO_TRY(page, api.engine.list(std::move(query)));
  for (wire::SandboxRecord& record : page.records) record = as_seen(std::move(record), request);
  co_return http::json(200, wire::encode_archived_list(page.records, page.next, page.previous));
}

Reply get_archived(ApiState& api, Request request) {
  auto record = api.engine.get(request.param("id"));
  if (!record || record->status != wire::State::terminated)
    co_return Error{Code::not_found, "no sandbox that has ended has such an id",
                    "SANDBOX_NOT_FOUND"};
  co_return http::json(200, wire::encode_archived(as_seen(std::move(*record), request)));
}

// Ours: what the live sandboxes use, all in one answer, without waking any.
Reply usage_of_all(ApiState& api, Request) {
  CO_TRY(all, co_await api.engine.usage());
  json::array list;
  for (const SandboxUsage& usage : all) {
    const wire::SandboxRecord& record = usage.record;
    json::object entry{{"id", record.id},
                       {"status", wire::name(record.status)},
                       {"tier", record.tier},
                       {"cpus", record.resources.cpus},
                       {"cpu_ms", usage.cpu_ms},
                       {"memory_bytes", usage.memory_bytes},
                       {"memory_limit_bytes", record.resources.memory_mb << 20},
                       {"disk_limit_bytes", record.resources.disk_mb << 20},
                       {"pids", usage.pids},
                       {"in_use", usage.in_use},
                       {"last_activity_at", usage.last_activity_ms}};
    if (!record.name.empty()) entry["name"] = record.name;
    if (usage.disk_bytes >= 0) entry["disk_bytes"] = usage.disk_bytes;
    list.push_back(std::move(entry));
  }
  co_return http::json(200, wire::to_json(json::object{{"sandboxes", std::move(list)}}));
}

Reply healthz(ApiState&, Request) { co_return http::text(200, "ok\n"); }
Reply metrics_page(ApiState&, Request) { co_return http::text(200, metrics::render()); }

}  // namespace glovebox::engine

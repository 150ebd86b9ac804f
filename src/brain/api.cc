#include "brain/api.h"

#include "base/metrics.h"
#include "net/task.h"

namespace glovebox::brain {

using http::Body;
using http::Request;
using http::Response;

namespace {

constexpr std::size_t kSmall = 64 * 1024;
constexpr std::size_t kText = 1 << 20;        // a memory, however its text is escaped
constexpr std::size_t kDefinition = 8 << 20;  // agents, and sessions with their first events
constexpr std::size_t kEvents = 32 << 20;

using Mask = std::uint8_t;
constexpr Mask kApi = static_cast<Mask>(Who::api);
constexpr Mask kEnvironment = static_cast<Mask>(Who::environment);
constexpr Mask kSession = static_cast<Mask>(Who::session);
constexpr Mask kMetrics = static_cast<Mask>(Who::metrics);
constexpr Mask kMemory = kApi | kSession;
constexpr Mask kAny = kApi | kEnvironment | kSession;

struct Row {
  std::string_view method, pattern;
  Reply (*handler)(Call);
  Mask who = kApi;
  std::size_t limit = 0;  // of the body; 0: none is read
  bool waits = false;     // ends when the client goes away
};

// `poll` and `stats` are words, not ids: the router takes the literal first. Where a row has no
// body of interest but clients send one, it is read.
constexpr Row kRows[] = {
    {"POST", "/v1/agents", create_agent, kApi, kDefinition},
    {"GET", "/v1/agents", list_agents},
    {"GET", "/v1/agents/{agent}", get_agent},
    {"POST", "/v1/agents/{agent}", update_agent, kApi, kDefinition},
    {"POST", "/v1/agents/{agent}/archive", archive_agent, kApi, kSmall},
    {"GET", "/v1/agents/{agent}/versions", list_agent_versions},

    {"POST", "/v1/environments", create_environment, kApi, kSmall},
    {"GET", "/v1/environments", list_environments},
    {"GET", "/v1/environments/{env}", get_environment},
    {"POST", "/v1/environments/{env}", update_environment, kApi, kSmall},
    {"DELETE", "/v1/environments/{env}", delete_environment},
    {"POST", "/v1/environments/{env}/archive", archive_environment, kApi, kSmall},

    {"GET", "/v1/environments/{env}/work/poll", poll_work, kEnvironment, 0, true},
    {"GET", "/v1/environments/{env}/work/stats", work_stats, kApi | kEnvironment},
    {"GET", "/v1/environments/{env}/work", list_work, kApi | kEnvironment},
    {"GET", "/v1/environments/{env}/work/{work}", get_work, kApi | kEnvironment},
    {"POST", "/v1/environments/{env}/work/{work}", update_work, kApi, kSmall},
    {"POST", "/v1/environments/{env}/work/{work}/ack", ack_work, kEnvironment | kSession, kSmall},
    {"POST", "/v1/environments/{env}/work/{work}/heartbeat", heartbeat_work,
     kEnvironment | kSession, kSmall},
    {"POST", "/v1/environments/{env}/work/{work}/stop", stop_work, kAny, kSmall},

    {"POST", "/v1/sessions", create_session, kApi, kEvents},
    {"GET", "/v1/sessions", list_sessions},
    {"GET", "/v1/sessions/{session}", get_session, kAny},
    {"POST", "/v1/sessions/{session}", update_session, kApi, kDefinition},
    {"DELETE", "/v1/sessions/{session}", delete_session},
    {"POST", "/v1/sessions/{session}/archive", archive_session, kApi, kSmall},
    {"GET", "/v1/sessions/{session}/resources", list_resources},
    {"POST", "/v1/sessions/{session}/resources", add_resource, kApi, kSmall},
    {"GET", "/v1/sessions/{session}/resources/{resource}", no_resource},
    {"POST", "/v1/sessions/{session}/resources/{resource}", no_resource, kApi, kSmall},
    {"DELETE", "/v1/sessions/{session}/resources/{resource}", no_resource},
    {"GET", "/v1/sessions/{session}/events", list_events, kAny},
    {"POST", "/v1/sessions/{session}/events", send_events, kAny, kEvents},
    {"GET", "/v1/sessions/{session}/events/stream", stream_events, kAny},
    {"GET", "/v1/sessions/{session}/threads", list_threads},
    {"GET", "/v1/sessions/{session}/threads/{thread}", get_thread},
    {"POST", "/v1/sessions/{session}/threads/{thread}/archive", archive_thread, kApi, kSmall},
    {"GET", "/v1/sessions/{session}/threads/{thread}/events", list_thread_events},
    {"GET", "/v1/sessions/{session}/threads/{thread}/stream", stream_thread_events},

    {"POST", "/v1/organizations/webhooks", create_webhook, kApi, kSmall},
    {"GET", "/v1/organizations/webhooks", list_webhooks},
    {"GET", "/v1/organizations/webhooks/{webhook}", get_webhook},
    {"POST", "/v1/organizations/webhooks/{webhook}", update_webhook, kApi, kSmall},
    {"DELETE", "/v1/organizations/webhooks/{webhook}", delete_webhook},
    {"POST", "/v1/organizations/webhooks/{webhook}/regenerate_signing_secret",
     exchange_webhook_secret, kApi, kSmall},

    {"POST", "/v1/skills", create_skill, kApi, kEvents},
    {"GET", "/v1/skills", list_skills},
    {"GET", "/v1/skills/{skill}", get_skill},
    {"DELETE", "/v1/skills/{skill}", delete_skill},
    {"POST", "/v1/skills/{skill}/versions", create_skill_version, kApi, kEvents},
    {"GET", "/v1/skills/{skill}/versions", list_skill_versions},
    {"GET", "/v1/skills/{skill}/versions/{version}", get_skill_version, kAny},
    {"GET", "/v1/skills/{skill}/versions/{version}/content", get_skill_content, kAny},
    {"DELETE", "/v1/skills/{skill}/versions/{version}", delete_skill_version},

    {"POST", "/v1/files", create_file, kApi, kEvents},
    {"GET", "/v1/files", list_files},
    {"GET", "/v1/files/{file}", get_file},
    {"GET", "/v1/files/{file}/content", get_file_content},
    {"DELETE", "/v1/files/{file}", delete_file},

    {"POST", "/v1/memory_stores", create_memory_store, kApi, kSmall},
    {"GET", "/v1/memory_stores", list_memory_stores},
    {"GET", "/v1/memory_stores/{store}", get_memory_store, kMemory},
    {"POST", "/v1/memory_stores/{store}", update_memory_store, kApi, kSmall},
    {"DELETE", "/v1/memory_stores/{store}", delete_memory_store},
    {"POST", "/v1/memory_stores/{store}/archive", archive_memory_store, kApi, kSmall},
    {"POST", "/v1/memory_stores/{store}/memories", create_memory, kMemory, kText},
    {"GET", "/v1/memory_stores/{store}/memories", list_memories, kMemory},
    {"GET", "/v1/memory_stores/{store}/memories/{memory}", get_memory, kMemory},
    {"POST", "/v1/memory_stores/{store}/memories/{memory}", update_memory, kMemory, kText},
    {"DELETE", "/v1/memory_stores/{store}/memories/{memory}", delete_memory, kMemory},
    {"GET", "/v1/memory_stores/{store}/memory_versions", list_memory_versions, kMemory},
    {"GET", "/v1/memory_stores/{store}/memory_versions/{version}", get_memory_version, kMemory},
    {"POST", "/v1/memory_stores/{store}/memory_versions/{version}/redact", redact_memory_version,
     kApi, kSmall},

    // Ours.
    {"GET", "/glovebox/v1/status", brain_status},
    {"GET", "/glovebox/v1/credential", credential, kAny},
    {"POST", "/glovebox/v1/environments/{env}/keys", create_key, kApi, kSmall},
    {"GET", "/glovebox/v1/environments/{env}/keys", list_keys},
    {"DELETE", "/glovebox/v1/environments/{env}/keys/{key}", revoke_key},
    {"POST", "/glovebox/v1/sessions/{session}/errors", report_error, kEnvironment | kSession,
     kSmall},
    {"GET", "/glovebox/v1/sessions/{session}/files/{file}/content", session_file,
     kEnvironment | kSession},
    {"POST", "/glovebox/v1/prune", prune, kApi, kSmall},
    {"GET", "/glovebox/v1/webhooks/{webhook}/deliveries", list_deliveries},
    {"POST", "/glovebox/v1/webhooks/{webhook}/deliveries/{event}/replay", replay_delivery, kApi,
     kSmall},
    {"GET", "/metrics", metrics_page, kApi | kMetrics},
};

Reply serve(ApiState& api, const Row& row, Request request) {
  CO_TRY(who, api.keyring.credential_of(request));
  if (!(static_cast<Mask>(who.kind) & row.who))
    co_return Error{Code::forbidden, str("this call is not for ", name(who.kind))};
  Query query(request.query);
  auto response =
      co_await row.handler(Call{api, std::move(request), std::move(who), std::move(query)});
  if (!response || row.method == "GET") co_return response;
  // Clients are told of a change when a power cut cannot undo it any more.
  CO_TRY_DO(co_await api.sync.wait());
  co_return response;
}

Reply healthz(Request) { co_return http::text(200, "ok\n"); }

}  // namespace

std::vector<http::Route> api_routes(ApiState& api) {
  std::vector<http::Route> routes;
  for (const Row& row : kRows) {
    http::Route route;
    route.method = row.method;
    route.pattern = row.pattern;
    route.body = row.limit ? Body::whole : Body::none;
    route.body_limit = row.limit;
    route.cancel_on_disconnect = row.waits;
    route.handler = [&api, &row](Request request) { return serve(api, row, std::move(request)); };
    routes.push_back(std::move(route));
  }
  routes.push_back({.method = "GET", .pattern = "/healthz", .handler = healthz});
  return routes;
}

http::ServerOptions api_options(const Keyring& keyring) {
  http::ServerOptions options;
  options.allowed_hosts = {"localhost", "127.0.0.1", "[::1]"};
  // Before the body is read: strangers get to send nothing. What the credential may do is for the
  // route to say.
  options.guard = [&keyring](const Request& request) -> Result<void> {
    if (request.path == "/healthz") return ok;
    TRY_DO(keyring.credential_of(request));
    return ok;
  };
  options.dress = dress;
  return options;
}

Result<void> and_tell(ApiState& api, std::string_view type, std::string_view object,
                      const std::function<Result<void>()>& work) {
  return api.store.atomically([&]() -> Result<void> {
    TRY_DO(work());
    return api.webhooks.announce(type, object);
  });
}

Result<SessionRow> session_of(const Call& call) {
  const std::string id = call.param("session");
  const Error none{Code::not_found, str("there is no session ", id)};
  if (call.who.kind == Who::session && call.who.session_id != id) return none;
  TRY(row, call.api.store.session(id));
  if (call.who.kind == Who::environment && call.who.environment_id != row.environment_id)
    return none;
  return row;
}

Result<void> check_newest(const Call& call) {
  if (call.who.kind != Who::session) return ok;
  TRY(newest, call.api.store.newest_token(call.who.session_id));
  if (newest == call.who.id) return ok;
  return Error{Code::forbidden, "the session was handed out to another worker meanwhile"};
}

Result<EnvironmentRow> environment_of(const Call& call) {
  const std::string id = call.param("env");
  if (call.who.kind != Who::api && call.who.environment_id != id)
    return Error{Code::not_found, str("there is no environment ", id), "environment_not_found"};
  return call.api.store.environment(id);
}

}  // namespace glovebox::brain

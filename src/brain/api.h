// What the handlers of the HTTP API share. Each api_*.cc has the handlers of one chapter of
// docs/brain-api.md; api.cc has their list.
#pragma once

#include <string>

#include "brain/api_query.h"
#include "brain/auth.h"
#include "brain/event_log.h"
#include "brain/file_records.h"
#include "brain/group_sync.h"
#include "brain/memory_records.h"
#include "brain/model.h"
#include "brain/sessions.h"
#include "brain/skill_records.h"
#include "brain/webhooks.h"
#include "brain/work.h"
#include "http/server.h"

namespace glovebox::brain {

struct ApiState {
  net::Loop& loop;
  const Options& options;
  Store& store;
  MemoryRecords& memories;
  SkillRecords& skills;
  FileRecords& files;
  EventLog& log;
  Webhooks& webhooks;
  WebhookRecords& webhook_records;
  Queue& queue;
  Sessions& sessions;
  Model& model;
  Keyring& keyring;
  GroupSync& sync;
};

// A request that may be made: its credential is known, and allowed here.
struct Call {
  ApiState& api;
  http::Request request;
  Credential who;
  Query query;

  std::string param(std::string_view name) const { return request.param(name); }
};
using Reply = Task<http::Response>;

std::vector<http::Route> api_routes(ApiState& api);
http::ServerOptions api_options(const Keyring& keyring);

// api_errors.cc: the envelope of the API around every error, also those of the server itself.
std::string error_json(int status, std::string_view message, std::string_view details,
                       std::string_view request_id);  // details: JSON object, or empty
// Of errors that have a type of their own, and perhaps members beside the message.
std::string typed_error_json(std::string_view type, std::string_view message,
                             std::string_view members, std::string_view request_id);
void dress(http::Response& response, std::string_view request_id);
Error later(std::string what);  // named, understood, and not to be had on this server

// The session of the path, if the caller may see it: another one's is not there.
Result<SessionRow> session_of(const Call& call);
// Of two workers that believe to have the same session, the one with the newer item is right: the
// other one may change nothing.
Result<void> check_newest(const Call& call);
// The environment of the path, likewise.
Result<EnvironmentRow> environment_of(const Call& call);

// What `work` does and the news of it become true together.
Result<void> and_tell(ApiState& api, std::string_view type, std::string_view object,
                      const std::function<Result<void>()>& work);

// {"data":[…],"next_page":…}, of rows that were asked for one more than fit.
template <class Row, class Render>
http::Response page_json(std::vector<Listed<Row>> rows, const Page& page, std::string_view filters,
                         Render&& render) {
  std::string next = "null", data;
  if (rows.size() > static_cast<std::size_t>(page.limit)) {
    rows.resize(static_cast<std::size_t>(page.limit));
    next = str('"', encode_cursor({.number = rows.back().number}, filters), '"');
  }
  for (const auto& listed : rows) data += str(data.empty() ? "" : ",", render(listed.row));
  return http::json(200, str(R"({"data":[)", data, R"(],"next_page":)", next, '}'));
}

// api_agents.cc
Reply create_agent(Call call);
Reply list_agents(Call call);
Reply get_agent(Call call);
Reply update_agent(Call call);
Reply archive_agent(Call call);
Reply list_agent_versions(Call call);

// api_environments.cc
Reply create_environment(Call call);
Reply list_environments(Call call);
Reply get_environment(Call call);
Reply update_environment(Call call);
Reply delete_environment(Call call);
Reply archive_environment(Call call);

// api_sessions.cc, api_session_create.cc
Reply create_session(Call call);
Reply list_sessions(Call call);
Reply get_session(Call call);
Reply update_session(Call call);
Reply delete_session(Call call);
Reply archive_session(Call call);
Reply list_resources(Call call);
Reply add_resource(Call call);
Reply no_resource(Call call);
Reply list_threads(Call call);
Reply get_thread(Call call);
Reply archive_thread(Call call);
std::string session_json(const SessionRow& row);

// api_events.cc
Reply list_events(Call call);
Reply send_events(Call call);
Reply stream_events(Call call);
Reply list_thread_events(Call call);
Reply stream_thread_events(Call call);

// api_work.cc
Reply poll_work(Call call);
Reply work_stats(Call call);
Reply list_work(Call call);
Reply get_work(Call call);
Reply update_work(Call call);
Reply ack_work(Call call);
Reply heartbeat_work(Call call);
Reply stop_work(Call call);

// api_webhooks.cc
Reply create_webhook(Call call);
Reply list_webhooks(Call call);
Reply get_webhook(Call call);
Reply update_webhook(Call call);
Reply delete_webhook(Call call);
Reply exchange_webhook_secret(Call call);
Reply list_deliveries(Call call);
Reply replay_delivery(Call call);

// api_skills.cc
Reply create_skill(Call call);
Reply list_skills(Call call);
Reply get_skill(Call call);
Reply delete_skill(Call call);
Reply create_skill_version(Call call);
Reply list_skill_versions(Call call);
Reply get_skill_version(Call call);
Reply get_skill_content(Call call);
Reply delete_skill_version(Call call);

// api_files.cc
Reply create_file(Call call);
Reply list_files(Call call);
Reply get_file(Call call);
Reply get_file_content(Call call);
Reply delete_file(Call call);

// api_memory_stores.cc
Reply create_memory_store(Call call);
Reply list_memory_stores(Call call);
Reply get_memory_store(Call call);
Reply update_memory_store(Call call);
Reply delete_memory_store(Call call);
Reply archive_memory_store(Call call);
// The memory store of the path, if the caller may see it: a session sees those attached to it, and
// changes those it may write to.
enum class MemoryUse { read, write };
Result<MemoryStoreRow> memory_store_of(const Call& call, MemoryUse use);
Result<bool> full_view(const Query& query, bool otherwise);  // whether texts are wanted
constexpr int memory_page_limit(bool full) { return full ? 20 : 100; }

// api_memories.cc
Reply create_memory(Call call);
Reply list_memories(Call call);
Reply get_memory(Call call);
Reply update_memory(Call call);
Reply delete_memory(Call call);
MemoryActor actor_of(const Credential& who);

// api_memory_versions.cc
Reply list_memory_versions(Call call);
Reply get_memory_version(Call call);
Reply redact_memory_version(Call call);

// api_own.cc: what is ours alone
Reply brain_status(Call call);
Reply credential(Call call);
Reply create_key(Call call);
Reply list_keys(Call call);
Reply revoke_key(Call call);
Reply prune(Call call);
Reply metrics_page(Call call);
// Removes sessions that saw nothing since `before`.
struct Pruned {
  std::int64_t sessions = 0, events = 0;
};
Task<Pruned> prune_sessions(Store& store, Sessions& sessions, Micros before);

// api_session_work.cc
Reply report_error(Call call);
Reply session_file(Call call);

}  // namespace glovebox::brain

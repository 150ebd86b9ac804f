// What the store keeps beside sessions and events: agents, environments and their keys, work items
// and their tokens, and a few settings. Each list is in the order of creation, by the `number` a
// row gets when it is added; a cursor is a number.
#pragma once

#include "brain/store.h"

namespace glovebox::brain {

struct AgentRow {  // one version of an agent
  std::string id;
  std::int64_t version = 1;
  std::string name;
  std::string
      definition;  // JSON object: all members of the API's agent but id, type, version, times
  Micros created_at = 0;  // of the agent
  Micros updated_at = 0;  // of this version
  Micros archived_at = 0;
};

struct EnvironmentRow {
  std::string id, name;
  std::optional<std::string> description;
  std::string metadata = "{}";
  std::string scope;  // "": not given
  Micros created_at = 0, updated_at = 0, archived_at = 0;
};

struct KeyRow {  // of an environment; the key itself is nowhere
  std::string id, environment_id, name;
  std::string hash;
  std::string hint;       // "gb-env-ab…yz"
  bool embedded = false;  // the one our own orchestrator has; exchanged, not listed for revoking
  Micros created_at = 0, revoked_at = 0;
};

enum class WorkState { queued, starting, active, stopping, stopped };
std::string_view name(WorkState state);

struct WorkRow {
  std::string id, environment_id, session_id;
  WorkState state = WorkState::queued;
  std::string metadata = "{}";
  Micros created_at = 0;
  Micros acknowledged_at = 0, started_at = 0;
  Micros latest_heartbeat_at = 0;    // what the worker must show to go on
  Micros previous_heartbeat_at = 0;  // what it may show once more, shortly after
  Micros stop_requested_at = 0, stopped_at = 0;
  std::string beat_by;        // hash of the token, or id of the key, of the latest heartbeat
  Micros claimed_at = 0;      // handed out by a poll, and not acknowledged since
  std::string claimed_by;     // Anthropic-Worker-ID of that poll
  std::int64_t delivery = 0;  // counts polls: a token is good for one of them
  std::int64_t ttl_secs = 0;
  std::int64_t lapses = 0;  // how often its lease ran out
  Micros due_at = 0;        // when the state ends by itself; 0: never
};

struct TokenRow {  // a sessions token
  std::string hash, work_id, environment_id, session_id;
  std::int64_t delivery = 0;
  Micros expires_at = 0;  // 0: lives with its item
};

template <class Row>
struct Listed {
  std::int64_t number = 0;
  Row row;
};

struct ListQuery {
  std::int64_t from = 0;   // exclusive; 0: from the start of the order
  bool ascending = false;  // oldest first
  int limit = 20;
  bool include_archived = false;
  std::optional<Micros> created_from, created_to;  // both inclusive
};

struct SessionQuery : ListQuery {
  std::string agent_id, memory_store_id;  // empty: all
  std::optional<std::int64_t> agent_version;
  std::vector<std::string> statuses;  // empty: all
};

struct QueueStats {
  std::int64_t depth = 0, pending = 0;
  Micros oldest_queued_at = 0;
};

struct Totals {  // for /metrics
  std::int64_t sessions = 0, sessions_running = 0, queued = 0, held = 0, tokens = 0;
};

class Store : public SessionStore {
 public:
  virtual Result<void> add_agent(const AgentRow& row) = 0;
  // The newest version, or that one.
  virtual Result<AgentRow> agent(std::string_view id, std::optional<std::int64_t> version = {}) = 0;
  virtual Result<void> add_agent_version(const AgentRow& row) = 0;
  virtual Result<void> archive_agent(std::string_view id, Micros at) = 0;
  virtual Result<std::vector<Listed<AgentRow>>> agents(const ListQuery& query) = 0;
  virtual Result<std::vector<Listed<AgentRow>>> agent_versions(std::string_view id,
                                                               const ListQuery& query) = 0;

  virtual Result<void> add_environment(const EnvironmentRow& row) = 0;  // Code::conflict: the name
  virtual Result<EnvironmentRow> environment(std::string_view id) = 0;
  virtual Result<void> save_environment(const EnvironmentRow& row) = 0;  // Code::conflict: the name
  virtual Result<void> remove_environment(std::string_view id) = 0;      // with its keys
  virtual Result<std::vector<Listed<EnvironmentRow>>> environments(const ListQuery& query) = 0;
  virtual Result<bool> has_sessions(std::string_view environment) = 0;

  virtual Result<void> add_key(const KeyRow& row) = 0;
  virtual Result<std::optional<KeyRow>> key_by_hash(std::string_view hash) = 0;
  virtual Result<std::vector<KeyRow>> keys(std::string_view environment) = 0;
  virtual Result<void> revoke_key(std::string_view id, Micros at) = 0;

  virtual Result<std::vector<Listed<SessionRow>>> sessions(const SessionQuery& query) = 0;
  // At the end of a turn or terminated, and nothing has happened there since `before`. Who waits
  // for somebody stays.
  virtual Result<std::vector<std::string>> stale_sessions(Micros before, int limit) = 0;
  // Idle at the end of a turn since before `before`, while a worker holds an item of theirs.
  virtual Result<std::vector<std::string>> idle_held_sessions(Micros before) = 0;
  virtual Result<std::int64_t> count_events(std::string_view session) = 0;

  virtual Result<void> add_work(const WorkRow& row) = 0;
  virtual Result<WorkRow> work(std::string_view id) = 0;
  virtual Result<void> save_work(const WorkRow& row) = 0;
  virtual Result<std::vector<WorkRow>> live_work(std::string_view session) = 0;  // not stopped
  // The oldest queued one that may be handed out now: never claimed, or before `claimed_before`.
  virtual Result<std::optional<WorkRow>> claimable(std::string_view environment,
                                                   Micros claimed_before) = 0;
  // When the next one that was claimed may be handed out again; 0: there is none.
  virtual Result<Micros> next_claimable(std::string_view environment, Micros reclaim_after) = 0;
  virtual Result<std::vector<WorkRow>> due_work(Micros now, int limit) = 0;
  virtual Result<std::vector<Listed<WorkRow>>> works(std::string_view environment,
                                                     const ListQuery& query) = 0;
  virtual Result<QueueStats> queue_stats(std::string_view environment) = 0;

  virtual Result<void> add_token(const TokenRow& row) = 0;
  virtual Result<std::optional<TokenRow>> token(std::string_view hash) = 0;
  virtual Result<std::string> newest_token(std::string_view session) = 0;  // its hash; "": none
  virtual Result<void> expire_tokens(std::string_view work, Micros at) = 0;
  virtual Result<void> sweep_tokens(Micros now) = 0;

  virtual Result<std::string> setting(std::string_view name) = 0;  // "": not set
  virtual Result<void> set_setting(std::string_view name, std::string_view value) = 0;
  virtual Result<Totals> totals() = 0;
  // What was committed so far is on disk when it returns. Blocks; any thread.
  virtual Result<void> sync() const = 0;
};

}  // namespace glovebox::brain

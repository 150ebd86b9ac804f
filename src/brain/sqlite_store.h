// The store in SQLite: one file, one connection, used from the loop's thread (but for sync).
#pragma once

#include "brain/file_records.h"
#include "brain/memory_records.h"
#include "brain/skill_records.h"
#include "brain/webhook_records.h"
#include "store/database.h"

namespace glovebox::brain {

class SqliteStore final : public Store,
                          public MemoryRecords,
                          public SkillRecords,
                          public FileRecords,
                          public WebhookRecords {
 public:
  // `path` is a file, or ":memory:".
  static Result<std::unique_ptr<SqliteStore>> open(const std::string& path);

  // sqlite_store_sessions.cc
  Result<void> add_session(const SessionRow& row) override;
  Result<SessionRow> session(std::string_view id) override;
  Result<void> save_session(const SessionRow& row) override;
  Result<void> remove_session(std::string_view id) override;
  Result<std::vector<std::string>> unfinished_sessions() override;
  Result<std::vector<Listed<SessionRow>>> sessions(const SessionQuery& query) override;
  Result<std::vector<std::string>> stale_sessions(Micros before, int limit) override;
  Result<std::vector<std::string>> idle_held_sessions(Micros before) override;

  // sqlite_store_events.cc
  Result<void> append(std::string_view session, std::vector<Event>& events) override;
  Result<std::vector<Event>> events(std::string_view session, const EventQuery& query) override;
  Result<std::int64_t> last_seq(std::string_view session) override;
  Result<void> set_processed(std::string_view session, std::int64_t seq, Micros at) override;
  Result<std::int64_t> count_events(std::string_view session) override;

  // sqlite_store_agents.cc
  Result<void> add_agent(const AgentRow& row) override;
  Result<AgentRow> agent(std::string_view id, std::optional<std::int64_t> version = {}) override;
  Result<void> add_agent_version(const AgentRow& row) override;
  Result<void> archive_agent(std::string_view id, Micros at) override;
  Result<std::vector<Listed<AgentRow>>> agents(const ListQuery& query) override;
  Result<std::vector<Listed<AgentRow>>> agent_versions(std::string_view id,
                                                       const ListQuery& query) override;

  // sqlite_store_environments.cc
  Result<void> add_environment(const EnvironmentRow& row) override;
  Result<EnvironmentRow> environment(std::string_view id) override;
  Result<void> save_environment(const EnvironmentRow& row) override;
  Result<void> remove_environment(std::string_view id) override;
  Result<std::vector<Listed<EnvironmentRow>>> environments(const ListQuery& query) override;
  Result<bool> has_sessions(std::string_view environment) override;
  Result<void> add_key(const KeyRow& row) override;
  Result<std::optional<KeyRow>> key_by_hash(std::string_view hash) override;
  Result<std::vector<KeyRow>> keys(std::string_view environment) override;
  Result<void> revoke_key(std::string_view id, Micros at) override;

  // sqlite_store_work.cc
  Result<void> add_work(const WorkRow& row) override;
  Result<WorkRow> work(std::string_view id) override;
  Result<void> save_work(const WorkRow& row) override;
  Result<std::vector<WorkRow>> live_work(std::string_view session) override;
  Result<std::optional<WorkRow>> claimable(std::string_view environment,
                                           Micros claimed_before) override;
  Result<Micros> next_claimable(std::string_view environment, Micros reclaim_after) override;
  Result<std::vector<WorkRow>> due_work(Micros now, int limit) override;
  Result<std::vector<Listed<WorkRow>>> works(std::string_view environment,
                                             const ListQuery& query) override;
  Result<QueueStats> queue_stats(std::string_view environment) override;
  Result<void> add_token(const TokenRow& row) override;
  Result<std::optional<TokenRow>> token(std::string_view hash) override;
  Result<std::string> newest_token(std::string_view session) override;
  Result<void> expire_tokens(std::string_view work, Micros at) override;
  Result<void> sweep_tokens(Micros now) override;

  // sqlite_store_memories.cc
  Result<void> add_memory_store(const MemoryStoreRow& row) override;
  Result<MemoryStoreRow> memory_store(std::string_view id) override;
  Result<void> save_memory_store(const MemoryStoreRow& row) override;
  Result<void> remove_memory_store(std::string_view id) override;
  Result<std::vector<Listed<MemoryStoreRow>>> memory_stores(const ListQuery& query) override;
  Result<MemoryRow> memory(std::string_view store, std::string_view id, bool with_content) override;
  Result<std::vector<MemoryRow>> memories(std::string_view store,
                                          const MemoryQuery& query) override;
  Result<std::int64_t> count_memories(std::string_view store) override;
  Result<std::optional<MemoryRow>> memory_in_the_way(std::string_view store, std::string_view path,
                                                     std::string_view except) override;
  Result<void> add_memory(const MemoryRow& row, const MemoryActor& by) override;
  Result<void> change_memory(const MemoryRow& row, const MemoryActor& by) override;
  Result<void> remove_memory(const MemoryRow& row, std::string_view version_id,
                             const MemoryActor& by, Micros at) override;
  Result<MemoryVersionRow> memory_version(std::string_view store, std::string_view id,
                                          bool with_content) override;
  Result<std::vector<Listed<MemoryVersionRow>>> memory_versions(
      std::string_view store, const MemoryVersionQuery& query) override;
  Result<void> redact_memory_version(std::string_view store, std::string_view id,
                                     const MemoryActor& by, Micros at) override;
  Result<void> sweep_memory_versions(Micros before) override;

  // sqlite_store_skills.cc
  Result<void> add_skill(const SkillRow& row) override;
  Result<SkillRow> skill(std::string_view id) override;
  Result<void> remove_skill(std::string_view id) override;
  Result<std::vector<Listed<SkillRow>>> skills(const ListQuery& query) override;
  Result<void> add_skill_version(const SkillVersionRow& row, std::string_view archive) override;
  Result<SkillVersionRow> skill_version(std::string_view skill, std::string_view version) override;
  Result<std::string> skill_archive(std::string_view version_id) override;
  Result<void> remove_skill_version(std::string_view version_id) override;
  Result<std::vector<Listed<SkillVersionRow>>> skill_versions(std::string_view skill,
                                                              const ListQuery& query) override;

  // sqlite_store_files.cc
  Result<void> add_file(const FileRow& row, std::string_view content, std::int64_t quota) override;
  Result<FileRow> file(std::string_view id, Micros now) override;
  Result<std::string> file_content(std::string_view id) override;
  Result<void> remove_file(std::string_view id) override;
  Result<std::vector<Listed<FileRow>>> files(const ListQuery& query,
                                             const std::vector<std::string>& ids,
                                             Micros now) override;
  Result<void> sweep_files(Micros now, Micros forget) override;

  // sqlite_store_webhooks.cc
  Result<void> add_webhook(const WebhookRow& row) override;
  Result<WebhookRow> webhook(std::string_view id) override;
  Result<void> save_webhook(const WebhookRow& row) override;
  Result<void> remove_webhook(std::string_view id) override;
  Result<std::vector<Listed<WebhookRow>>> webhooks(const ListQuery& query) override;
  Result<std::int64_t> count_webhooks() override;
  Result<void> add_delivery(const DeliveryRow& row) override;
  Result<void> save_delivery(const DeliveryRow& row) override;
  Result<DeliveryRow> delivery(std::string_view webhook, std::string_view event) override;
  Result<std::vector<Listed<DeliveryRow>>> deliveries(std::string_view webhook,
                                                      const ListQuery& query) override;
  Result<std::vector<DeliveryRow>> owed_deliveries(std::string_view webhook, int limit) override;
  Result<void> drop_deliveries(std::string_view webhook) override;
  Result<void> sweep_deliveries(Micros before) override;

  // sqlite_store.cc
  Result<void> atomically(const std::function<Result<void>()>& work) override;
  Result<std::string> setting(std::string_view name) override;
  Result<void> set_setting(std::string_view name, std::string_view value) override;
  Result<Totals> totals() override;
  Result<void> sync() const override;

 private:
  explicit SqliteStore(store::Database db) : db_(std::move(db)) {}
  Result<void> run(std::string_view sql);
  // Events of one session lie side by side: their key is the session's number and theirs in it.
  Result<std::int64_t> number_of(std::string_view session);  // Code::not_found

  store::Database db_;
  int depth_ = 0;  // of atomically()
};

}  // namespace glovebox::brain

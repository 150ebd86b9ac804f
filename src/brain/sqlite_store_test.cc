#include "brain/sqlite_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "base/temp_dir.h"
#include "brain/session_state.h"
#include "store/database.h"

namespace glovebox::brain {
namespace {

struct Sqlite : testing::Test {
  std::unique_ptr<SqliteStore> store = std::move(*SqliteStore::open(":memory:"));

  void add_session(std::string id, SessionRow row = {}) {
    row.id = std::move(id);
    EXPECT_TRUE(store->add_session(row));
  }
  void append(std::string session, std::vector<std::string> types, Micros at = 1) {
    std::vector<Event> events;
    for (auto& type : types)
      events.push_back({.id = "e", .type = type, .processed_at = at, .json = "{}", .memo = "m"});
    EXPECT_TRUE(store->append(session, events));
  }
  std::vector<std::int64_t> seqs(std::string session, EventQuery query) {
    auto events = store->events(session, query);
    EXPECT_TRUE(events);
    std::vector<std::int64_t> seqs;
    for (auto& event : *events) seqs.push_back(event.seq);
    return seqs;
  }
  std::vector<std::string> sessions(SessionQuery query) {
    auto rows = store->sessions(query);
    EXPECT_TRUE(rows);
    std::vector<std::string> ids;
    for (auto& listed : *rows) ids.push_back(listed.row.id);
    return ids;
  }
};

// A database in a file, and somebody else at it.
struct Shared {
  std::string directory = make_temp_dir("brain-store");
  std::string path = directory + "/brain.db";
  std::unique_ptr<SqliteStore> store = std::move(*SqliteStore::open(path));
  std::optional<store::Database> other;
  Shared() {
    // As many migrations as it has had: none is left to do.
    for (std::vector<store::Migration> had; !other && had.size() < 100;) {
      had.push_back({static_cast<int>(had.size()) + 1, ""});
      if (auto opened = store::Database::open(path, had)) other = std::move(*opened);
    }
  }
  ~Shared() { std::filesystem::remove_all(directory); }
  void run(const std::string& sql) {
    auto ran = other->exec(sql);
    EXPECT_TRUE(ran) << ran.error().what;
  }
};

using Seqs = std::vector<std::int64_t>;
using Ids = std::vector<std::string>;

}  // namespace

TEST_F(Sqlite, SessionComesBackAsItWasSaved) {
  SessionRow row{.id = "sesn_1",
                 .environment_id = "env_1",
                 .agent_id = "agent_1",
                 .agent_version = 3,
                 .agent = R"({"a":1})",
                 .title = "t",
                 .created_at = 5};
  ASSERT_TRUE(store->add_session(row));
  row.status = SessionStatus::running;
  row.title.reset();
  row.agent = R"({"a":2})";
  row.usage = R"({"input_tokens":1})";
  row.stop_reason = "end_turn";
  row.active_us = 7;
  ASSERT_TRUE(store->save_session(row));
  auto found = store->session("sesn_1");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->status, SessionStatus::running);
  EXPECT_FALSE(found->title);
  EXPECT_EQ(found->agent, row.agent);
  EXPECT_EQ(found->usage, row.usage);
  EXPECT_EQ(found->resources, "[]");
  EXPECT_EQ(found->stop_reason, "end_turn");
  EXPECT_EQ(found->active_us, 7);
  EXPECT_EQ(found->agent_version, 3);
  EXPECT_EQ(found->created_at, 5);
}

TEST(SqliteStore, MayBeLookedAtAndCopiedWhileItIsInUse) {
  Shared shared;
  ASSERT_TRUE(shared.store->add_session({.id = "sesn_1", .agent = "{}"}));
  shared.run("BEGIN; SELECT * FROM sessions");  // a shell that was left at its prompt
  ASSERT_TRUE(shared.store->add_session({.id = "sesn_2", .agent = "{}"}));
  shared.run("COMMIT");
  shared.run("VACUUM INTO '" + shared.directory + "/copy.db'");
  auto copy = SqliteStore::open(shared.directory + "/copy.db");
  ASSERT_TRUE(copy) << copy.error().what;
  EXPECT_TRUE((*copy)->session("sesn_2"));
}

TEST(SqliteStore, CallsOfADatabaseThatDidNotKnowThemAreFound) {
  Shared shared;
  ASSERT_TRUE(shared.store->add_session({.id = "sesn_1", .agent = "{}"}));
  std::vector<Event> events{
      {.id = "e1", .type = "agent.tool_use", .json = "{}"},
      {.id = "e2", .type = "agent.custom_tool_use", .json = "{}"},
      {.id = "e3", .type = "user.tool_result", .json = R"({"tool_use_id":"e1"})"},
      {.id = "e4", .type = "user.custom_tool_result", .json = R"({"custom_tool_use_id":"e2"})"},
      {.id = "e5", .type = "user.tool_result", .json = "not JSON"},
      {.id = "e6", .type = "user.tool_confirmation", .json = R"({"tool_use_id":"e2"})"}};
  ASSERT_TRUE(shared.store->append("sesn_1", events));
  shared.store.reset();
  shared.run(
      "DROP INDEX events_of_calls; ALTER TABLE events DROP COLUMN call;"
      "PRAGMA user_version = 5");
  auto reopened = SqliteStore::open(shared.path);
  ASSERT_TRUE(reopened) << reopened.error().what;
  shared.store = std::move(*reopened);
  auto tool = closed_call(*shared.store, "sesn_1", {}, "e1");
  auto custom = closed_call(*shared.store, "sesn_1", {}, "e2");
  ASSERT_TRUE(tool && *tool && custom && *custom);
  EXPECT_EQ((*tool)->answer, 3);
  EXPECT_FALSE((*tool)->custom);
  EXPECT_EQ((*custom)->answer, 4);
  EXPECT_TRUE((*custom)->custom);
  EXPECT_FALSE(*closed_call(*shared.store, "sesn_1", {}, "e3"));
}

TEST_F(Sqlite, UnknownSessionIsNotFound) {
  EXPECT_EQ(store->session("sesn_1").error().code, Code::not_found);
  EXPECT_EQ(store->save_session({.id = "sesn_1"}).error().code, Code::not_found);
  EXPECT_EQ(store->remove_session("sesn_1").error().code, Code::not_found);
  EXPECT_EQ(store->events("sesn_1", {}).error().code, Code::not_found);
  std::vector<Event> events(1);
  EXPECT_EQ(store->append("sesn_1", events).error().code, Code::not_found);
}

TEST_F(Sqlite, EventsAreNumberedWithinTheirSession) {
  add_session("sesn_1");
  add_session("sesn_2");
  append("sesn_1", {"a", "b"});
  append("sesn_2", {"a"});
  append("sesn_1", {"c"});
  EXPECT_EQ(seqs("sesn_1", {}), (Seqs{1, 2, 3}));
  EXPECT_EQ(seqs("sesn_2", {}), (Seqs{1}));
  EXPECT_EQ(store->last_seq("sesn_1"), 3);
  auto event = store->events("sesn_1", {.limit = 1})->at(0);
  EXPECT_EQ(event.type, "a");
  EXPECT_EQ(event.memo, "m");
  EXPECT_EQ(store->events("sesn_1", {.with_memo = false})->at(0).memo, "");
}

TEST_F(Sqlite, EventsAreReadBothWaysFromAnyPlace) {
  add_session("sesn_0");
  add_session("sesn_1");
  add_session("sesn_2");
  for (auto id : {"sesn_0", "sesn_1", "sesn_2"}) append(id, {"a", "b", "a", "b", "a"});
  EXPECT_EQ(seqs("sesn_1", {.after = 2, .limit = 2}), (Seqs{3, 4}));
  EXPECT_EQ(seqs("sesn_1", {.after = 5}), (Seqs{}));
  EXPECT_EQ(seqs("sesn_1", {.descending = true, .limit = 2}), (Seqs{5, 4}));
  EXPECT_EQ(seqs("sesn_1", {.after = 2, .descending = true}), (Seqs{1}));
  EXPECT_EQ(seqs("sesn_1", {.after = 1, .descending = true}), (Seqs{}));
  EXPECT_EQ(seqs("sesn_1", {.after = 1, .types = {"a", "x"}}), (Seqs{3, 5}));
  EXPECT_EQ(seqs("sesn_1", {.max_bytes = 3}), (Seqs{1, 2}));  // "{}" has two bytes
}

TEST_F(Sqlite, EventsThatWaitHaveNoTime) {
  add_session("sesn_1");
  append("sesn_1", {"a"}, 10);
  append("sesn_1", {"b"}, 0);
  append("sesn_1", {"c"}, 20);
  EXPECT_EQ(seqs("sesn_1", {.from = 0}), (Seqs{1, 2, 3}));
  EXPECT_EQ(seqs("sesn_1", {.from = 11}), (Seqs{3}));
  EXPECT_EQ(seqs("sesn_1", {.to = 20}), (Seqs{1, 3}));
  ASSERT_TRUE(store->set_processed("sesn_1", 2, 15));
  EXPECT_EQ(seqs("sesn_1", {.from = 11, .to = 19}), (Seqs{2}));
}

TEST_F(Sqlite, WhatAStartHasToLookAtIsUnfinished) {
  add_session("sesn_idle", {.stop_reason = "end_turn"});
  add_session("sesn_running", {.status = SessionStatus::running});
  add_session("sesn_again", {.status = SessionStatus::rescheduling});
  add_session("sesn_calls", {.stop_reason = "requires_action"});
  add_session("sesn_queued");
  append("sesn_queued", {"user.message"}, 0);
  add_session("sesn_dead", {.status = SessionStatus::terminated, .stop_reason = "requires_action"});
  append("sesn_dead", {"user.message"}, 0);
  EXPECT_EQ(*store->unfinished_sessions(),
            (Ids{"sesn_again", "sesn_calls", "sesn_queued", "sesn_running"}));
}

TEST_F(Sqlite, RemovedSessionTakesEverythingAlong) {
  add_session("sesn_0");
  append("sesn_0", {"a"});
  add_session("sesn_1");
  append("sesn_1", {"a", "b"});
  ASSERT_TRUE(store->add_work({.id = "work_1", .session_id = "sesn_1"}));
  ASSERT_TRUE(store->add_token({.hash = "h", .session_id = "sesn_1"}));
  ASSERT_TRUE(store->remove_session("sesn_1"));
  EXPECT_FALSE(store->session("sesn_1"));
  EXPECT_FALSE(store->work("work_1"));
  EXPECT_FALSE(*store->token("h"));
  EXPECT_EQ(seqs("sesn_0", {}), (Seqs{1}));
  add_session("sesn_1");  // nothing of the old one shows through
  EXPECT_EQ(seqs("sesn_1", {}), (Seqs{}));
}

TEST_F(Sqlite, AllOrNothing) {
  add_session("sesn_1");
  auto failed = store->atomically([&]() -> Result<void> {
    append("sesn_1", {"a"});
    add_session("sesn_2");
    return Error{Code::internal, "no"};
  });
  EXPECT_FALSE(failed);
  EXPECT_EQ(seqs("sesn_1", {}), (Seqs{}));
  EXPECT_FALSE(store->session("sesn_2"));
}

TEST_F(Sqlite, WhatFailsInsideIsUndoneAlone) {
  add_session("sesn_1");
  auto done = store->atomically([&]() -> Result<void> {
    append("sesn_1", {"kept"});
    auto inner = store->atomically([&]() -> Result<void> {
      append("sesn_1", {"undone"});
      return Error{Code::internal, "no"};
    });
    EXPECT_FALSE(inner);
    append("sesn_1", {"kept too"});
    return ok;
  });
  EXPECT_TRUE(done);
  auto events = *store->events("sesn_1", {});
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].type, "kept too");
}

TEST_F(Sqlite, SessionsAreListedByAllTheirFilters) {
  add_session("s1", {.agent_id = "a1", .agent_version = 1, .created_at = 10});
  add_session(
      "s2",
      {.agent_id = "a1", .agent_version = 2, .status = SessionStatus::running, .created_at = 20});
  add_session("s3", {.agent_id = "a2", .agent_version = 1, .created_at = 30, .archived_at = 40});
  add_session("s4", {.agent_id = "a2", .agent_version = 1, .created_at = 40});
  EXPECT_EQ(sessions({}), (Ids{"s4", "s2", "s1"}));
  SessionQuery query;
  query.include_archived = true;
  EXPECT_EQ(sessions(query), (Ids{"s4", "s3", "s2", "s1"}));
  query.ascending = true;
  query.limit = 2;
  EXPECT_EQ(sessions(query), (Ids{"s1", "s2"}));
  query.from = 2;
  EXPECT_EQ(sessions(query), (Ids{"s3", "s4"}));
  query.ascending = false;
  EXPECT_EQ(sessions(query), (Ids{"s1"}));
  query = {};
  query.agent_id = "a1";
  EXPECT_EQ(sessions(query), (Ids{"s2", "s1"}));
  query.agent_version = 1;
  EXPECT_EQ(sessions(query), (Ids{"s1"}));
  query = {};
  query.statuses = {"running", "terminated"};
  EXPECT_EQ(sessions(query), (Ids{"s2"}));
  query = {};
  query.created_from = 20;
  query.created_to = 39;
  EXPECT_EQ(sessions(query), (Ids{"s2"}));
}

TEST_F(Sqlite, StaleAreIdleSessionsWhereNothingHappened) {
  add_session("s_running", {.status = SessionStatus::running});
  add_session("s_old");
  add_session("s_waits", {.stop_reason = "requires_action"});
  add_session("s_changed", {.updated_at = now_us()});
  add_session("s_spoke");
  append("s_spoke", {"a"});
  EXPECT_EQ(*store->stale_sessions(now_us() - 1'000'000, 10), (Ids{"s_old"}));
  EXPECT_EQ(*store->stale_sessions(now_us() + 1'000'000, 10),
            (Ids{"s_old", "s_changed", "s_spoke"}));
  EXPECT_EQ(*store->stale_sessions(now_us() + 1'000'000, 1), (Ids{"s_old"}));
}

TEST_F(Sqlite, AgentsKeepTheirVersions) {
  ASSERT_TRUE(store->add_agent({.id = "agent_1",
                                .version = 1,
                                .name = "a",
                                .definition = "1",
                                .created_at = 1,
                                .updated_at = 1}));
  ASSERT_TRUE(store->add_agent_version(
      {.id = "agent_1", .version = 2, .name = "b", .definition = "2", .updated_at = 5}));
  EXPECT_EQ(store->agent("agent_1")->definition, "2");
  EXPECT_EQ(store->agent("agent_1")->updated_at, 5);
  EXPECT_EQ(store->agent("agent_1", 1)->definition, "1");
  EXPECT_EQ(store->agent("agent_1", 3).error().code, Code::not_found);
  EXPECT_EQ(store->agent("agent_2").error().code, Code::not_found);
  auto versions = *store->agent_versions("agent_1", {});
  ASSERT_EQ(versions.size(), 2u);
  EXPECT_EQ(versions[0].row.version, 2);
  versions = *store->agent_versions("agent_1", {.from = versions[0].number});
  ASSERT_EQ(versions.size(), 1u);
  EXPECT_EQ(versions[0].row.name, "a");
  ASSERT_TRUE(store->archive_agent("agent_1", 9));
  EXPECT_TRUE(store->agents({})->empty());
  EXPECT_EQ(store->agents({.include_archived = true})->at(0).row.archived_at, 9);
}

TEST_F(Sqlite, LiveEnvironmentsHaveDifferentNames) {
  ASSERT_TRUE(store->add_environment({.id = "env_1", .name = "a"}));
  EXPECT_EQ(store->add_environment({.id = "env_2", .name = "a"}).error().code, Code::conflict);
  ASSERT_TRUE(store->save_environment({.id = "env_1", .name = "a", .archived_at = 1}));
  EXPECT_TRUE(store->add_environment({.id = "env_2", .name = "a", .description = ""}));
  EXPECT_EQ(store->environment("env_2")->description, "");
  EXPECT_FALSE(store->environment("env_1")->description);
  EXPECT_EQ(store->environment("env_3").error().tag, "environment_not_found");
  EXPECT_EQ(store->environments({})->size(), 1u);
}

TEST_F(Sqlite, KeysAreFoundByTheirHash) {
  ASSERT_TRUE(store->add_environment({.id = "env_1", .name = "a"}));
  ASSERT_TRUE(store->add_key({.id = "ekey_1", .environment_id = "env_1", .hash = "h1"}));
  ASSERT_TRUE(store->add_key({.id = "ekey_2", .environment_id = "env_1", .hash = "h2"}));
  EXPECT_EQ((*store->key_by_hash("h2"))->id, "ekey_2");
  EXPECT_FALSE(*store->key_by_hash("h3"));
  ASSERT_TRUE(store->revoke_key("ekey_2", 5));
  ASSERT_TRUE(store->revoke_key("ekey_2", 6));
  EXPECT_EQ((*store->key_by_hash("h2"))->revoked_at, 5);
  EXPECT_EQ(store->keys("env_1")->size(), 2u);
  ASSERT_TRUE(store->remove_environment("env_1"));
  EXPECT_FALSE(*store->key_by_hash("h1"));
}

TEST_F(Sqlite, WorkComesBackAsItWasSaved) {
  WorkRow row{.id = "work_1", .environment_id = "env_1", .session_id = "sesn_1", .created_at = 1};
  ASSERT_TRUE(store->add_work(row));
  row.state = WorkState::stopping;
  row.metadata = R"({"a":"b"})";
  row.acknowledged_at = 2;
  row.started_at = 3;
  row.latest_heartbeat_at = 4;
  row.previous_heartbeat_at = 5;
  row.stop_requested_at = 6;
  row.stopped_at = 7;
  row.beat_by = "by";
  row.claimed_at = 8;
  row.claimed_by = "worker";
  row.delivery = 9;
  row.ttl_secs = 10;
  row.lapses = 11;
  row.due_at = 14;
  ASSERT_TRUE(store->save_work(row));
  auto found = *store->work("work_1");
  EXPECT_EQ(found.state, WorkState::stopping);
  EXPECT_EQ(found.metadata, row.metadata);
  EXPECT_EQ((std::vector<Micros>{found.acknowledged_at, found.started_at, found.latest_heartbeat_at,
                                 found.previous_heartbeat_at, found.stop_requested_at,
                                 found.stopped_at, found.claimed_at, found.delivery, found.ttl_secs,
                                 found.lapses, found.due_at}),
            (std::vector<Micros>{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14}));
  EXPECT_EQ(found.beat_by, "by");
  EXPECT_EQ(found.claimed_by, "worker");
  EXPECT_EQ(store->due_work(14, 10)->size(), 1u);
  EXPECT_TRUE(store->due_work(13, 10)->empty());
}

TEST_F(Sqlite, QueueIsServedInTheOrderOfCreation) {
  ASSERT_TRUE(
      store->add_work({.id = "w1", .environment_id = "e", .created_at = 1, .claimed_at = 50}));
  ASSERT_TRUE(store->add_work({.id = "w2", .environment_id = "e", .created_at = 2}));
  ASSERT_TRUE(store->add_work({.id = "w3", .environment_id = "e", .created_at = 3}));
  ASSERT_TRUE(store->add_work({.id = "w4", .environment_id = "other"}));
  ASSERT_TRUE(store->add_work({.id = "w5", .environment_id = "e", .state = WorkState::active}));
  EXPECT_EQ((*store->claimable("e", 49))->id, "w2");
  EXPECT_EQ((*store->claimable("e", 50))->id, "w1");
  EXPECT_FALSE(*store->claimable("none", 50));
  auto stats = *store->queue_stats("e");
  EXPECT_EQ(stats.depth, 2);
  EXPECT_EQ(stats.pending, 1);
  EXPECT_EQ(stats.oldest_queued_at, 1);
  EXPECT_EQ(store->queue_stats("none")->oldest_queued_at, 0);
  EXPECT_EQ(store->next_claimable("e", 5), 0);  // two wait for nothing
  for (auto id : {"w2", "w3"})
    ASSERT_TRUE(store->save_work({.id = id, .environment_id = "e", .state = WorkState::active}));
  EXPECT_EQ(store->next_claimable("e", 5), 55);
}

TEST_F(Sqlite, NewestTokenOfASession) {
  ASSERT_TRUE(store->add_token({.hash = "b", .work_id = "w1", .session_id = "s1"}));
  ASSERT_TRUE(store->add_token({.hash = "a", .work_id = "w2", .session_id = "s1"}));
  EXPECT_EQ(*store->newest_token("s1"), "a");
  EXPECT_EQ(*store->newest_token("s2"), "");
  ASSERT_TRUE(store->expire_tokens("w2", 10));
  ASSERT_TRUE(store->sweep_tokens(9));
  EXPECT_EQ((*store->token("a"))->expires_at, 10);
  ASSERT_TRUE(store->sweep_tokens(10));
  EXPECT_FALSE(*store->token("a"));
  EXPECT_TRUE(*store->token("b"));
}

TEST_F(Sqlite, SettingsAreKept) {
  EXPECT_EQ(*store->setting("a"), "");
  ASSERT_TRUE(store->set_setting("a", "1"));
  ASSERT_TRUE(store->set_setting("a", "2"));
  EXPECT_EQ(*store->setting("a"), "2");
}

TEST_F(Sqlite, APlaceBeyondASessionReachesNoOther) {
  add_session("s_mine");
  add_session("s_other");
  append("s_mine", {"user.message"});
  append("s_other", {"user.message", "agent.message"});
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t after : {std::int64_t{1} << 32, kMost, std::int64_t{-1}})
    for (bool descending : {false, true})
      EXPECT_FALSE(store->events("s_mine", {.after = after, .descending = descending})) << after;
  EXPECT_EQ(seqs("s_mine", {.after = 1'000, .descending = true}), Seqs{1});
}

}  // namespace glovebox::brain

#include "brain/event_log.h"

#include <gtest/gtest.h>

#include "brain/ids.h"
#include "brain/sqlite_store.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

struct Log : testing::Test {
  net::Loop loop;
  std::unique_ptr<SqliteStore> store = std::move(*SqliteStore::open(":memory:"));
  std::optional<EventLog> log{std::in_place, loop, *store};

  Log() { EXPECT_TRUE(store->add_session({.id = "sesn_1", .agent = "{}"})); }

  std::vector<std::string> append(std::vector<std::string> types) {
    std::vector<Event> events;
    for (auto& type : types)
      events.push_back({.id = new_id("sevt"),
                        .type = type,
                        .processed_at = 1,
                        .json = str(R"({"type":")", type, R"("})")});
    EXPECT_TRUE(log->append("sesn_1", events));
    std::vector<std::string> ids;
    for (auto& event : events) ids.push_back(event.id);
    return ids;
  }
  void start(std::string id) {
    log->preview(
        "sesn_1", "agent.message",
        str(R"({"type":"event_start","event":{"type":"agent.message","id":")", id, R"("}})"));
  }
  void delta(std::string id, std::string text) {
    log->preview("sesn_1", "agent.message",
                 str(R"({"type":"event_delta","event_id":")", id,
                     R"(","delta":{"type":"content_delta","content":{"type":"text","text":")", text,
                     R"("}}})"));
  }
  std::unique_ptr<EventLog::Follower> follow(std::vector<std::string> previews = {}) {
    auto follower = log->follow("sesn_1", std::move(previews));
    EXPECT_TRUE(follower);
    return std::move(*follower);
  }
  static Task<void> keep(EventLog::Follower& follower, Millis limit,
                         Result<std::vector<std::string>>& into) {
    into = co_await follower.next(limit);
    co_return ok;
  }
  // What it gets now, without waiting.
  Result<std::vector<std::string>> take(EventLog::Follower& follower, Millis limit = 0ms) {
    Result<std::vector<std::string>> got = Error{};
    EXPECT_TRUE(net::run(loop, keep(follower, limit, got)));
    return got;
  }
};

}  // namespace

TEST_F(Log, FollowerGetsWhatComesAfterIt) {
  append({"before"});
  auto follower = follow();
  EXPECT_TRUE(take(*follower)->empty());
  append({"one", "two"});
  auto got = take(*follower);
  ASSERT_EQ(got->size(), 2u);
  EXPECT_TRUE((*got)[0].contains(R"("type":"one","processed_at":"1970)"));
  EXPECT_TRUE((*got)[1].contains("two"));
  EXPECT_TRUE(take(*follower)->empty());
}

TEST_F(Log, UnknownSessionIsNotFound) {
  auto follower = log->follow("sesn_2", {});
  ASSERT_FALSE(follower);
  EXPECT_EQ(follower.error().code, Code::not_found);
}

TEST_F(Log, OneWhoWaitsIsWoken) {
  auto follower = follow();
  Result<std::vector<std::string>> got = Error{};
  net::TaskGroup tasks(loop);
  tasks.spawn("follower", keep(*follower, net::kForever, got));
  loop.post([&] { append({"one"}); });
  loop.run();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->size(), 1u);
}

TEST_F(Log, SlowReaderLosesNothingAndHoldsNothing) {
  auto follower = follow();
  for (int i = 0; i < 1000; ++i) append({str("n", i)});
  int next = 0;
  for (auto got = take(*follower); !got->empty(); got = take(*follower))
    for (auto& json : *got) EXPECT_TRUE(json.contains(str("\"n", next++, "\""))) << json;
  EXPECT_EQ(next, 1000);
}

TEST_F(Log, EventsOfATransactionThatFailedAreNeverSeen) {
  auto follower = follow();
  auto failed = store->atomically([&]() -> Result<void> {
    append({"undone"});
    return Error{Code::internal, "no"};
  });
  EXPECT_FALSE(failed);
  EXPECT_TRUE(take(*follower)->empty());
  append({"done"});
  EXPECT_TRUE((*take(*follower))[0].contains("done"));
}

TEST_F(Log, PreviewsReachOnlyThoseWhoAsked) {
  auto with = follow({"agent.message"}), without = follow(), other = follow({"agent.thinking"});
  start("sevt_x");
  delta("sevt_x", "He");
  EXPECT_EQ(take(*with)->size(), 2u);
  EXPECT_TRUE(take(*without)->empty());
  EXPECT_TRUE(take(*other)->empty());
}

TEST_F(Log, PreviewsStandWhereTheyHappened) {
  auto follower = follow({"agent.message"});
  append({"span.model_request_start"});
  start("sevt_x");
  delta("sevt_x", "He");
  append({"agent.message", "span.model_request_end"});
  auto got = take(*follower);
  ASSERT_EQ(got->size(), 5u);
  EXPECT_TRUE((*got)[0].contains("span.model_request_start"));
  EXPECT_TRUE((*got)[1].contains("event_start"));
  EXPECT_TRUE((*got)[2].contains("event_delta"));
  EXPECT_TRUE((*got)[3].contains("agent.message"));
}

TEST_F(Log, WhoCameInTheMiddleGetsNoPieces) {
  start("sevt_x");
  auto follower = follow({"agent.message"});
  delta("sevt_x", "lo");
  EXPECT_TRUE(take(*follower)->empty());
}

TEST_F(Log, WhoIsBehindMissesTheRestOfTheMessageAndNothingInTheMiddle) {
  auto follower = follow({"agent.message"});
  start("sevt_x");
  for (int i = 0; i < 1000; ++i) delta("sevt_x", str("<", i, ">"));
  int next = 0;
  for (auto& json : *take(*follower))
    if (json.contains("event_delta")) EXPECT_TRUE(json.contains(str("<", next++, ">")));
  EXPECT_GT(next, 100);
  EXPECT_LT(next, 1000);
  delta("sevt_x", "late");  // there is room again, but not for this one
  EXPECT_TRUE(take(*follower)->empty());
  start("sevt_y");
  EXPECT_EQ(take(*follower)->size(), 1u);
}

TEST_F(Log, DeletedIsTheLastWord) {
  auto follower = follow();
  log->deleted("sesn_1");
  auto got = take(*follower);
  ASSERT_EQ(got->size(), 1u);
  EXPECT_TRUE((*got)[0].contains("session.deleted"));
  auto end = take(*follower);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Code::gone);
}

TEST_F(Log, FollowersMayOutliveTheLog) {
  auto follower = follow();
  EXPECT_EQ(log->followers(), 1u);
  log.reset();
  auto end = take(*follower);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Code::gone);
}

TEST_F(Log, CountsItsFollowers) {
  auto one = follow(), other = follow();
  EXPECT_EQ(log->followers(), 2u);
  one.reset();
  EXPECT_EQ(log->followers(), 1u);
}

}  // namespace glovebox::brain

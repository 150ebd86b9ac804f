#include "brain/work.h"

#include <gtest/gtest.h>

#include "brain/ids.h"
#include "brain/sqlite_store.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

constexpr Micros kSecond = 1'000'000;

struct Work : testing::Test {
  net::Loop loop;
  std::unique_ptr<SqliteStore> store = std::move(*SqliteStore::open(":memory:"));
  Micros now = 1'000 * kSecond;
  Queue queue{
      loop, *store, {.ttl_secs = 300, .reap_idle_secs = 300, .now = [this] { return now; }}};
  std::vector<std::string> stopped;

  Work() {
    for (auto id : {"s1", "s2"})
      EXPECT_TRUE(store->add_session({.id = id, .agent = "{}", .status = SessionStatus::running}));
    queue.on_stopped = [this](std::string session) { stopped.push_back(session); };
  }
  void add(std::string session = "s1") { EXPECT_TRUE(queue.ensure_item(session, "env")); }
  std::optional<Queue::Delivery> claim(std::string worker = "", Millis reclaim = 5s) {
    auto claimed = queue.claim({.environment = "env", .worker = worker, .reclaim = reclaim});
    EXPECT_TRUE(claimed);
    return claimed ? std::move(*claimed) : std::nullopt;
  }
  static Queue::Caller caller(const Queue::Delivery& delivery) {
    return {.by = hash_of(delivery.token.reveal()), .delivery = delivery.work.delivery};
  }
  // An item that is being worked at.
  Queue::Delivery active() {
    add();
    auto delivery = claim();
    EXPECT_TRUE(queue.ack(delivery->work.id, {.by = "key"}, ""));
    EXPECT_TRUE(beat(*delivery, "NO_HEARTBEAT")->extended);
    return std::move(*delivery);
  }
  Result<Queue::Beat> beat(const Queue::Delivery& delivery, std::optional<std::string> expected) {
    return queue.heartbeat(delivery.work.id, expected, {}, caller(delivery));
  }
  std::string last(const Queue::Delivery& delivery) {
    return rfc3339(store->work(delivery.work.id)->latest_heartbeat_at);
  }
  WorkState state(const Queue::Delivery& delivery) { return store->work(delivery.work.id)->state; }
  static bool lost(const Result<Queue::Beat>& beat) { return beat && beat->refused; }
  void tick(Micros after) {
    now += after;
    EXPECT_TRUE(queue.tick());
    loop.run();
  }
};

constexpr std::string_view kNone = "NO_HEARTBEAT";

}  // namespace

TEST_F(Work, SessionHasOneLiveItem) {
  add();
  add();
  EXPECT_EQ(store->live_work("s1")->size(), 1u);
  auto delivery = claim();
  ASSERT_TRUE(delivery);
  add();
  EXPECT_EQ(store->live_work("s1")->size(), 1u);
  ASSERT_TRUE(queue.stop(delivery->work.id, true, {}));
  add();
  auto live = *store->live_work("s1");
  ASSERT_EQ(live.size(), 1u);
  EXPECT_NE(live[0].id, delivery->work.id);
}

TEST_F(Work, ClaimedItemIsHiddenForTheReclaimTime) {
  add();
  auto first = claim();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->work.state, WorkState::queued);
  EXPECT_FALSE(claim());
  now += 5 * kSecond - 1;
  EXPECT_FALSE(claim());
  now += 1;
  auto second = claim();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->work.id, first->work.id);
  EXPECT_FALSE(second->token.equals(first->token.reveal()));
}

TEST_F(Work, OldestIsHandedOutFirst) {
  add("s1");
  add("s2");
  EXPECT_EQ(claim()->work.session_id, "s1");
  EXPECT_EQ(claim()->work.session_id, "s2");
  EXPECT_FALSE(claim());
}

TEST_F(Work, TokenIsStoredAsItsHashAlone) {
  add();
  auto delivery = claim();
  auto token = *store->token(hash_of(delivery->token.reveal()));
  ASSERT_TRUE(token);
  EXPECT_EQ(token->work_id, delivery->work.id);
  EXPECT_EQ(token->session_id, "s1");
  EXPECT_EQ(token->expires_at, 0);
}

TEST_F(Work, AckedItemIsNotHandedOutAgain) {
  add();
  auto delivery = claim();
  auto acked = queue.ack(delivery->work.id, {.by = "key"}, "");
  ASSERT_TRUE(acked);
  EXPECT_EQ(acked->state, WorkState::starting);
  EXPECT_EQ(acked->acknowledged_at, now);
  now += 10 * kSecond;
  EXPECT_FALSE(claim());
}

TEST_F(Work, AckMayBeRepeatedByTheOneWhoSentIt) {
  add();
  auto delivery = claim("one");
  const std::string& id = delivery->work.id;
  ASSERT_TRUE(queue.ack(id, {.by = "key"}, "one"));
  EXPECT_TRUE(queue.ack(id, {.by = "key"}, "one"));
  EXPECT_TRUE(queue.ack(id, {.by = "key", .repeats = true}, ""));
  EXPECT_TRUE(queue.ack(id, caller(*delivery), ""));
  EXPECT_EQ(queue.ack(id, {.by = "key"}, "two").error().code, Code::conflict);
  EXPECT_EQ(queue.ack(id, {.by = "key"}, "").error().code, Code::conflict);
}

TEST_F(Work, AckNeedsAClaimAndALiveItem) {
  add();
  const std::string id = store->live_work("s1")->at(0).id;
  EXPECT_EQ(queue.ack(id, {}, "").error().code, Code::conflict);
  auto first = claim();
  now += 6 * kSecond;
  auto second = claim();
  EXPECT_EQ(queue.ack(id, caller(*first), "").error().code, Code::conflict);
  EXPECT_TRUE(queue.ack(id, caller(*second), ""));
  ASSERT_TRUE(beat(*second, std::string(kNone)));
  EXPECT_EQ(queue.ack(id, caller(*second), "").error().code, Code::conflict);
  ASSERT_TRUE(queue.stop(id, true, {}));
  EXPECT_EQ(queue.ack(id, caller(*second), "").error().code, Code::conflict);
  EXPECT_EQ(queue.ack("work_none", {}, "").error().code, Code::not_found);
}

TEST_F(Work, FirstBeatTakesTheLease) {
  auto delivery = active();
  auto row = *store->work(delivery.work.id);
  EXPECT_EQ(row.state, WorkState::active);
  EXPECT_EQ(row.started_at, now);
  EXPECT_EQ(row.latest_heartbeat_at, now);
}

TEST_F(Work, SecondFirstBeatIsRefusedWithTheState) {
  auto delivery = active();
  auto second = beat(delivery, std::string(kNone));
  ASSERT_TRUE(lost(second));
  EXPECT_FALSE(second->extended);
  EXPECT_EQ(second->work.latest_heartbeat_at, now);
}

TEST_F(Work, FirstBeatWhoseAnswerWasLostMayBeRepeatedByTheClient) {
  auto delivery = active();
  auto repeated = caller(delivery);
  repeated.repeats = true;
  auto again = queue.heartbeat(delivery.work.id, std::string(kNone), {}, repeated);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->extended);
  EXPECT_EQ(again->work.latest_heartbeat_at, now);
  now += 11 * kSecond;
  EXPECT_TRUE(lost(queue.heartbeat(delivery.work.id, std::string(kNone), {}, repeated)));
}

TEST_F(Work, EachBeatGivesALaterValue) {
  auto delivery = active();
  std::string before = last(delivery);
  for (int i = 0; i < 3; ++i) {  // the clock stands still
    auto next = beat(delivery, before);
    ASSERT_TRUE(next && next->extended && !next->refused);
    EXPECT_LT(before, last(delivery));
    before = last(delivery);
  }
}

TEST_F(Work, WrongValueIsRefused) {
  auto delivery = active();
  EXPECT_TRUE(lost(beat(delivery, "2020-01-01T00:00:00.000000Z")));
  EXPECT_TRUE(lost(beat(delivery, "")));
  auto unconditional = beat(delivery, std::nullopt);
  EXPECT_TRUE(unconditional && unconditional->extended);
}

TEST_F(Work, ValueBeforeIsGoodForAWhileAndForTheSameCallerAlone) {
  auto delivery = active();
  const std::string before = last(delivery);
  now += 60 * kSecond;
  ASSERT_TRUE(beat(delivery, before)->extended);
  const std::string current = last(delivery);
  auto again = beat(delivery, before);
  ASSERT_TRUE(again && again->extended && !again->refused);
  EXPECT_EQ(last(delivery), current);  // the present value, not another one
  EXPECT_TRUE(lost(queue.heartbeat(delivery.work.id, before, {}, {.by = "another"})));
  now += 10 * kSecond + 1;
  EXPECT_TRUE(lost(beat(delivery, before)));
  EXPECT_TRUE(beat(delivery, current)->extended);
}

TEST_F(Work, LeaseIsAsLongAsAskedForWithinLimits) {
  auto delivery = active();
  auto ttl = [&](std::int64_t desired) {
    return queue.heartbeat(delivery.work.id, std::nullopt, desired, caller(delivery))
        ->work.ttl_secs;
  };
  EXPECT_EQ(ttl(1), 10);
  EXPECT_EQ(ttl(30), 30);
  EXPECT_EQ(ttl(100'000), 600);
}

TEST_F(Work, UnacknowledgedItemHasNoLease) {
  add();
  auto delivery = claim();
  EXPECT_TRUE(lost(beat(*delivery, std::string(kNone))));
}

TEST_F(Work, LeaseThatLapsedPutsTheItemBackAsNew) {
  auto old = active();
  tick(299 * kSecond);
  EXPECT_EQ(state(old), WorkState::active);
  tick(kSecond);
  auto row = *store->work(old.work.id);
  EXPECT_EQ(row.state, WorkState::queued);
  EXPECT_EQ(row.acknowledged_at + row.started_at + row.latest_heartbeat_at, 0);
  EXPECT_EQ(row.lapses, 1);
  EXPECT_TRUE(stopped.empty());

  auto next = claim();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->work.id, old.work.id);
  ASSERT_TRUE(queue.ack(next->work.id, {.by = "key"}, ""));
  EXPECT_TRUE(lost(beat(old, std::string(kNone))));
  EXPECT_TRUE(lost(beat(old, std::nullopt)));
  EXPECT_TRUE(beat(*next, std::string(kNone))->extended);
  EXPECT_EQ(queue.stop(old.work.id, true, caller(old)).error().code, Code::forbidden);
  EXPECT_EQ(*store->newest_token("s1"), hash_of(next->token.reveal()));
}

TEST_F(Work, BeatsKeepTheLease) {
  auto delivery = active();
  for (int i = 0; i < 10; ++i) {
    tick(200 * kSecond);
    ASSERT_TRUE(beat(delivery, last(delivery))->extended);
  }
  EXPECT_EQ(state(delivery), WorkState::active);
}

TEST_F(Work, OldTokenOfALapsedLeaseEndsOneLeaseLater) {
  auto delivery = active();
  const std::string hash = hash_of(delivery.token.reveal());
  tick(300 * kSecond);
  EXPECT_EQ((*store->token(hash))->expires_at, now + 300 * kSecond);
  tick(300 * kSecond);
  EXPECT_FALSE(*store->token(hash));
}

TEST_F(Work, AckedButNeverBeatenComesBack) {
  add();
  auto delivery = claim();
  ASSERT_TRUE(queue.ack(delivery->work.id, {}, ""));
  tick(59 * kSecond);
  EXPECT_EQ(state(*delivery), WorkState::starting);
  tick(kSecond);
  EXPECT_EQ(state(*delivery), WorkState::queued);
}

TEST_F(Work, ItemThatAlwaysLosesItsWorkerEnds) {
  add();
  std::optional<Queue::Delivery> delivery;
  for (int i = 0; i < 10; ++i) {
    delivery = claim();
    ASSERT_TRUE(delivery) << i;
    ASSERT_TRUE(queue.ack(delivery->work.id, {}, ""));
    tick(60 * kSecond);
  }
  EXPECT_EQ(state(*delivery), WorkState::stopped);
  EXPECT_EQ(stopped, std::vector<std::string>{"s1"});
}

TEST_F(Work, GracefulStopIsToldByTheNextBeat) {
  auto delivery = active();
  auto row = queue.stop(delivery.work.id, false, {});
  ASSERT_TRUE(row);
  EXPECT_EQ(row->state, WorkState::stopping);
  EXPECT_EQ(row->stop_requested_at, now);
  for (auto value : {last(delivery), std::string(kNone), std::string("nonsense")}) {
    auto told = beat(delivery, value);
    ASSERT_TRUE(told && !told->refused && !told->extended);
    EXPECT_EQ(told->work.state, WorkState::stopping);
  }
  EXPECT_TRUE(queue.stop(delivery.work.id, false, {}));  // once more changes nothing
  EXPECT_TRUE(stopped.empty());
  auto ended = queue.stop(delivery.work.id, true, caller(delivery));
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->state, WorkState::stopped);
  loop.run();
  EXPECT_EQ(stopped, std::vector<std::string>{"s1"});
}

TEST_F(Work, StopNobodyHeedsEndsAfterOneLease) {
  auto delivery = active();
  ASSERT_TRUE(queue.stop(delivery.work.id, false, {}));
  tick(299 * kSecond);
  EXPECT_EQ(state(delivery), WorkState::stopping);
  tick(kSecond);
  EXPECT_EQ(state(delivery), WorkState::stopped);
  EXPECT_EQ(stopped.size(), 1u);
}

TEST_F(Work, ItemNobodyHoldsStopsAtOnce) {
  add();
  auto delivery = claim();  // claimed, not acked
  auto row = queue.stop(delivery->work.id, false, {});
  ASSERT_TRUE(row);
  EXPECT_EQ(row->state, WorkState::stopped);
  EXPECT_EQ(row->stop_requested_at, now);
  EXPECT_EQ(row->stopped_at, now);
}

TEST_F(Work, StoppedItemIsStoppedForGood) {
  auto delivery = active();
  ASSERT_TRUE(queue.stop(delivery.work.id, true, {}));
  EXPECT_EQ(queue.stop(delivery.work.id, true, {}).error().code, Code::conflict);
  EXPECT_EQ(queue.stop(delivery.work.id, false, {}).error().code, Code::conflict);
  auto told = beat(delivery, "whatever");
  ASSERT_TRUE(told && !told->refused && !told->extended);
  EXPECT_EQ(told->work.state, WorkState::stopped);
  // Long enough for a worker to hear of it.
  EXPECT_EQ((*store->token(hash_of(delivery.token.reveal())))->expires_at, now + 300 * kSecond);
}

TEST_F(Work, WhoeverIsToldOfAStopIsToldOutsideOfItsTransaction) {
  auto delivery = active();
  auto failed = store->atomically([&]() -> Result<void> {
    EXPECT_TRUE(queue.stop_items("s1"));
    EXPECT_TRUE(queue.stop(delivery.work.id, true, {}));
    EXPECT_TRUE(stopped.empty());
    return ok;
  });
  EXPECT_TRUE(failed);
  loop.run();
  EXPECT_EQ(stopped.size(), 1u);
}

TEST_F(Work, WorkerBesideASessionThatIsIdleForLongIsSentAway) {
  auto delivery = active();
  SessionRow row = *store->session("s1");
  row.status = SessionStatus::idle;
  row.updated_at = now;
  row.stop_reason = "end_turn";
  ASSERT_TRUE(store->save_session(row));
  auto keep = [&] { ASSERT_TRUE(beat(delivery, last(delivery))); };
  tick(200 * kSecond);
  keep();
  tick(100 * kSecond);
  EXPECT_EQ(state(delivery), WorkState::active);
  tick(10 * kSecond);
  EXPECT_EQ(state(delivery), WorkState::stopping);
}

TEST_F(Work, WorkerBesideASessionThatWaitsForItStays) {
  auto delivery = active();
  SessionRow row = *store->session("s1");
  row.status = SessionStatus::idle;
  row.updated_at = now;
  row.stop_reason = "requires_action";
  ASSERT_TRUE(store->save_session(row));
  for (int i = 0; i < 4; ++i) {
    tick(200 * kSecond);
    ASSERT_TRUE(beat(delivery, last(delivery)));
  }
  EXPECT_EQ(state(delivery), WorkState::active);
}

TEST_F(Work, PollersWhoGiveNoNameAreNotCounted) {
  struct Poll {
    static Task<void> once(Queue& queue, std::string worker) {
      CO_TRY(got, co_await queue.poll({.environment = "env", .worker = worker}));
      EXPECT_FALSE(got);
      co_return ok;
    }
  };
  ASSERT_TRUE(net::run(loop, Poll::once(queue, "")));
  EXPECT_FALSE(queue.workers_polling("env"));
  ASSERT_TRUE(net::run(loop, Poll::once(queue, "a")));
  ASSERT_TRUE(net::run(loop, Poll::once(queue, "b")));
  ASSERT_TRUE(net::run(loop, Poll::once(queue, "a")));
  EXPECT_EQ(queue.workers_polling("env"), 2);
  tick(31 * kSecond);
  EXPECT_FALSE(queue.workers_polling("env"));
}

TEST_F(Work, PollThatWaitsIsWokenByAnItem) {
  struct Poll {
    static Task<void> wait(Queue& queue, std::string& session) {
      CO_TRY(got, co_await queue.poll({.environment = "env", .block = 60s}));
      if (got) session = got->work.session_id;
      co_return ok;
    }
  };
  std::string session;
  net::TaskGroup tasks(loop);
  tasks.spawn("poll", Poll::wait(queue, session));
  loop.post([&] { loop.post([&] { add(); }); });
  loop.run();
  EXPECT_EQ(session, "s1");
}

TEST_F(Work, TwoPollersNeverGetTheSameItem) {
  struct Poll {
    static Task<void> wait(Queue& queue, int& winners) {
      CO_TRY(got, co_await queue.poll({.environment = "env", .block = 20ms}));
      winners += got.has_value();
      co_return ok;
    }
  };
  int winners = 0;
  net::TaskGroup tasks(loop);
  for (int i = 0; i < 20; ++i) tasks.spawn("poll", Poll::wait(queue, winners));
  loop.post([&] { loop.post([&] { add("s1"), add("s2"); }); });
  loop.run();
  EXPECT_EQ(winners, 2);
}

}  // namespace glovebox::brain

// The brain dies between any two durable steps, and the next one goes on.
#include <boost/json.hpp>
#include <map>

#include "brain/json_read.h"
#include "brain/session_world.h"
#include "brain/watched_store.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// A store that stops working after so many transactions, as everything does at a kill -9.
class DyingStore final : public WatchedStore {
 public:
  DyingStore(SessionStore& store, int transactions) : WatchedStore(store), left_(transactions) {}

  Result<SessionRow> session(std::string_view id) override {
    TRY_DO(alive());
    return WatchedStore::session(id);
  }
  Result<std::vector<Event>> events(std::string_view session, const EventQuery& query) override {
    TRY_DO(alive());
    return WatchedStore::events(session, query);
  }
  Result<void> atomically(const std::function<Result<void>()>& work) override {
    TRY_DO(alive());
    --left_;
    return WatchedStore::atomically(work);
  }
  bool dead() const { return left_ <= 0; }
  void die() { left_ = 0; }
  void revive() { left_ = 1'000'000; }

 private:
  Result<void> alive() const {
    if (dead()) return Error{Code::internal, "the store is gone"};
    return ok;
  }
  int left_;
};

// A client that does what is left to do: it knows nothing but the log.
struct Client {
  World& world;
  std::vector<std::string> messages;
  std::map<std::string, std::string> answers;  // by tool

  // False when there is nothing more to do.
  bool step() {
    for (const std::string& call : world.open_calls()) {
      std::string tool;
      for (const Event& event : world.events())
        if (event.id == call) tool = text_of(parse_object(event.json), "name");
      auto sent = world.sessions->send(
          world.id,
          {boost::json::object{{"type", "user.tool_result"},
                               {"tool_use_id", call},
                               {"content", {{{"type", "text"}, {"text", answers[tool]}}}}}});
      (void)sent;  // a dead brain takes nothing
      return true;
    }
    std::size_t said = world.ids("user.message").size();
    if (said < messages.size()) {
      auto sent = world.sessions->send(
          world.id,
          {boost::json::object{{"type", "user.message"},
                               {"content", {{{"type", "text"}, {"text", messages[said]}}}}}});
      (void)sent;
      return true;
    }
    return world.row().status != SessionStatus::idle;
  }
};

// Every request to the model has one end, every turn one beginning and one end.
void expect_sound(World& world) {
  int requests = 0, running = 0;
  std::int64_t seq = 0;
  for (const Event& event : world.events()) {
    EXPECT_EQ(event.seq, ++seq);
    EXPECT_NE(event.processed_at, 0) << event.json;
    if (event.type == "span.model_request_start") {
      EXPECT_EQ(++requests, 1);
    }
    if (event.type == "span.model_request_end") {
      EXPECT_EQ(--requests, 0);
    }
    if (event.type == "session.status_running") running = 1;
    if (event.type == "session.status_idle") running = 0;
    if (event.type.starts_with("agent.")) EXPECT_EQ(running, 1) << event.type;
  }
  EXPECT_EQ(requests, 0);
  EXPECT_EQ(running, 0);
}

void run(World& world, Client& client, const std::function<bool()>& until) {
  for (int i = 0; i < 100 && !until() && client.step(); ++i) world.settle();
}

// True when the store died before the end.
bool die_and_go_on(Model& model, int transactions) {
  World world(agent_json(), &model);
  DyingStore dying(*world.sqlite, transactions);
  world.restart(&dying);
  Client client{world,
                {"create hello.txt with 'hi' then read it back", "run `ls`"},
                {{"write", "wrote 2 bytes"}, {"read", "hi"}, {"bash", "hello.txt"}}};
  run(world, client, [&] { return dying.dead(); });
  bool died = dying.dead();
  world.restart();
  EXPECT_TRUE(world.sessions->recover());
  world.settle();
  run(world, client, [] { return false; });
  expect_sound(world);
  EXPECT_THAT(world.ids("user.message"), SizeIs(2));
  EXPECT_THAT(world.ids("agent.tool_use"), SizeIs(3));
  EXPECT_THAT(world.ids("user.tool_result"), SizeIs(3));
  EXPECT_THAT(world.ids("agent.message"), SizeIs(2));
  EXPECT_THAT(world.ids("agent.thinking"), SizeIs(2));
  EXPECT_THAT(world.last("agent.message"), HasSubstr("ran `ls`: hello.txt"));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  EXPECT_EQ(world.types().back(), "session.status_idle");
  if (testing::Test::HasFailure()) ADD_FAILURE() << testing::PrintToString(world.types());
  return died;
}

TEST(Crash, AfterEachDurableStepTheSessionEndsAsItWouldHave) {
  auto rehearsal = std::move(*make_rehearsal_model({}));
  int transactions = 0;
  for (bool died = true; died && !HasFailure(); ++transactions) {
    SCOPED_TRACE(str("killed after ", transactions, " transactions"));
    died = die_and_go_on(*rehearsal, transactions);
  }
  EXPECT_GT(transactions, 10);
}

TEST(Crash, ARequestThatWasUnderWayIsClosedAndAskedAgain) {
  World world;
  world.say("go");  // the model never answers
  world.settle();
  EXPECT_EQ(world.types().back(), "span.model_request_start");
  world.restart();
  world.fake.text("Here I am.");
  std::int64_t before = world.events().back().seq;
  ASSERT_TRUE(world.sessions->recover());
  EXPECT_EQ(world.sessions->running(), 1u);
  world.settle();
  EXPECT_THAT(world.types_after(before),
              ElementsAre("span.model_request_end", "span.model_request_start", "agent.message",
                          "span.model_request_end", "session.usage", "session.thread_status_idle",
                          "session.status_idle"));
  EXPECT_EQ(world.fake.requests[0], world.fake.requests[1]);
}

TEST(Crash, APauseBeforeARetryIsOverAfterAStart) {
  World world;
  world.fake.replies.push_back(
      {Error{Code::cancelled, "killed"}, [](const ModelListener& listener) {
         listener.retrying({Code::unavailable, "busy", "model_overloaded_error"},
                           "model_overloaded_error", 1h);
       }});
  world.say("go");
  world.settle();
  EXPECT_EQ(world.row().status, SessionStatus::rescheduling);
  world.restart();
  world.fake.text("Here I am.");
  ASSERT_TRUE(world.sessions->recover());
  world.settle();
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  EXPECT_EQ(world.row().status, SessionStatus::idle);
}

TEST(Crash, ClosingLeavesATurnWhereItIs) {
  World world;
  world.say("go");
  world.settle();
  std::size_t before = world.events().size();
  ASSERT_TRUE(net::run(world.loop, world.sessions->close(5s)));
  EXPECT_EQ(world.events().size(), before);
  EXPECT_EQ(world.fake.cancelled, 1);
  EXPECT_EQ(world.row().status, SessionStatus::running);
}

TEST(Crash, AMessageThatWaitedIsNotLost) {
  World world;
  world.fake.calls({{"bash", R"({"command":"ls"})"}});
  world.say("one");
  world.settle();
  world.say("two");
  world.restart();
  ASSERT_TRUE(world.sessions->recover());
  EXPECT_EQ(world.queue.ensured, 4);  // two by the turn, one by the message, one after the start
  world.fake.text("First.");
  world.fake.text("Second.");
  world.answer(world.open_calls()[0], "x");
  world.settle();
  EXPECT_THAT(world.ids("agent.message"), SizeIs(2));
  EXPECT_THAT(world.fake.requests.back(), HasSubstr("two"));
  expect_sound(world);
}

TEST(Crash, AStoreThatFailsForAWhileHoldsTheTurnUpAndNoMore) {
  World world;
  DyingStore dying(*world.sqlite, 1'000'000);
  world.restart(&dying);
  world.fake.text("lost");
  world.fake.replies.back().before = [&](const ModelListener&) { dying.die(); };
  world.fake.text("Here I am.");
  world.say("go");
  world.run_until([&] { return dying.dead(); });
  EXPECT_EQ(world.row().status, SessionStatus::running);
  dying.revive();
  world.run_until([&] { return world.row().status == SessionStatus::idle; });
  EXPECT_THAT(world.ids("agent.message"), SizeIs(1));
  EXPECT_EQ(world.row().stop_reason, "end_turn");
  expect_sound(world);
}

}  // namespace
}  // namespace glovebox::brain

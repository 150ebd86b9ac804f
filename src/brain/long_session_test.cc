// What a session costs does not grow with its length.
#include <boost/json.hpp>
#include <random>

#include "brain/conversations.h"
#include "brain/json_read.h"
#include "brain/session_state.h"
#include "brain/session_world.h"
#include "brain/watched_store.h"

namespace glovebox::brain {
namespace {

using testing::HasSubstr;

const std::string kAgent = agent_json(
    R"([{"type":"agent_toolset_20260401","configs":[{"name":"write","permission_policy":)"
    R"({"type":"always_ask"}}]},{"type":"custom","name":"weather","description":"d",)"
    R"("input_schema":{"type":"object"}}])");

SessionState fold_of_all(World& world) {
  SessionState state;
  for (const Event& event : world.events()) state.apply(event);
  return state;
}

// A client who does anything that is allowed, and some things that are not.
class Somebody {
 public:
  Somebody(World& world, unsigned seed) : world_(world), random_(seed) {}

  void act() {
    switch (below(9)) {
      case 0: return world_.say("go on");
      case 1: return send(R"([{"type":"user.interrupt"}])");
      case 2: return world_.fake.text("well", below(4) ? "end_turn" : "max_tokens");
      case 3: return world_.fake.calls({{"bash", R"({"command":"ls"})"}, {"nothing", "{}"}});
      case 4: return world_.fake.calls({{"write", "{}"}, {"weather", "{}"}}, "I look.");
      case 5: return world_.fake.fails({Code::unavailable, "overloaded", "model_overloaded_error"});
      default: return answer();
    }
  }

 private:
  unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
  void send(const std::string& events) {
    (void)world_.sessions->send(world_.id, boost::json::parse(events).as_array());
  }
  void answer() {
    auto open = world_.open_calls();
    if (open.empty()) return;
    const std::string& call = open[below(static_cast<unsigned>(open.size()))];
    const std::string content = R"(,"content":[{"type":"text","text":"so"}]})";
    const std::string what[] = {
        str(R"({"type":"user.tool_result","tool_use_id":")", call, '"', content),
        str(R"({"type":"user.custom_tool_result","custom_tool_use_id":")", call, '"', content),
        str(R"({"type":"user.tool_confirmation","tool_use_id":")", call, R"(","result":"allow"})"),
        str(R"({"type":"user.tool_confirmation","tool_use_id":")", call, R"(","result":"deny"})")};
    const std::string more =
        below(3) ? "" : R"(,{"type":"system.message","content":[{"type":"text","text":"s"}]})";
    send(str('[', what[below(4)], more, ']'));
  }

  World& world_;
  std::mt19937 random_;
};

TEST(LongSession, ItsStateSinceItLastRestedIsTheFoldOverAllOfIt) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    World world(kAgent);
    Somebody somebody(world, seed);
    for (int i = 0; i < 60; ++i) {
      somebody.act();
      if (i % 3 == 0) world.settle();
      auto state = state_of(*world.sqlite, world.id);
      ASSERT_TRUE(state) << state.error().what;
      ASSERT_EQ(*state, fold_of_all(world)) << testing::PrintToString(world.types());
    }
    world.settle();
  }
}

TEST(LongSession, AMessageThatWaitedThroughARestWaitsStill) {
  auto store = std::move(*SqliteStore::open(":memory:"));
  ASSERT_TRUE(store->add_session({.id = "sesn_1", .agent = "{}"}));
  std::vector<Event> events{
      {.id = "e1", .type = "system.message", .json = "{}"},
      {.id = "e2", .type = "session.status_idle", .processed_at = 1, .json = "{}"},
      {.id = "e3", .type = "user.message", .json = "{}"}};
  ASSERT_TRUE(store->append("sesn_1", events));
  auto state = state_of(*store, "sesn_1");
  ASSERT_TRUE(state);
  ASSERT_EQ(state->queued.size(), 2u);
  EXPECT_EQ(state->queued[0].id, "e1");
  EXPECT_EQ(state->queued[1].id, "e3");
  EXPECT_EQ(state->last_seq, 3);
}

// One turn of `calls` calls, one after the other; then the model speaks.
void play(World& world, int calls) {
  for (int i = 0; i < calls; ++i) world.fake.calls({{"bash", R"({"command":"ls"})"}});
  world.fake.text("Done.");
  world.say("go on");
  world.settle();
  for (int i = 0; i < calls; ++i) {
    world.answer(world.open_calls().at(0),
                 str(world.ids("agent.tool_use").back(), std::string(1'000, '.')));
    world.settle();
  }
}

TEST(LongSession, AnEventIsHandledWithoutReadingTheSession) {
  World world;
  WatchedStore watched(*world.sqlite);
  world.restart(&watched);
  auto cost_of_a_turn = [&] {
    watched.read = 0;
    play(world, 3);
    return watched.read;
  };
  play(world, 80);  // long enough for its conversation to be kept
  const int early = cost_of_a_turn();
  play(world, 80);
  EXPECT_EQ(cost_of_a_turn(), early);
  EXPECT_LT(early, 100);
}

TEST(LongSession, AResultThatComesAgainIsKnownHoweverOldItIs) {
  World world(kAgent);
  world.fake.calls({{"write", "{}"}, {"weather", "{}"}});
  world.fake.text("Well.");
  world.say("write");
  world.settle();
  const std::string denied = world.ids("agent.tool_use").at(0);
  const std::string custom = world.ids("agent.custom_tool_use").at(0);
  world.send(str(R"([{"type":"user.tool_confirmation","tool_use_id":")", denied,
                 R"(","result":"deny"},{"type":"user.custom_tool_result","custom_tool_use_id":")",
                 custom, R"("}])"));
  world.settle();
  play(world, 20);
  const std::string call = world.ids("agent.tool_use").at(1);
  const std::string answer = world.ids("user.tool_result").at(0);
  const std::size_t events = world.events().size();

  auto result = [](const std::string& of) {
    return str(R"([{"type":"user.tool_result","tool_use_id":")", of, R"("}])");
  };
  auto again = world.send(result(call));
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].id, answer);
  EXPECT_THAT(world.refused(result(denied)), HasSubstr("was denied"));
  EXPECT_THAT(world.refused(result(custom)), HasSubstr("user.custom_tool_result"));
  EXPECT_THAT(world.refused(result(answer)), HasSubstr("names no tool call"));
  EXPECT_THAT(world.refused(result("sevt_%' OR 1")), HasSubstr("names no tool call"));
  EXPECT_EQ(world.events().size(), events);
}

TEST(LongSession, ACallThatIsNotOpenIsLookedForWithoutReadingAnyText) {
  World world;
  WatchedStore watched(*world.sqlite);
  world.restart(&watched);
  play(world, 30);
  world.fake.calls({{"bash", "{}"}});  // one is open: the session's state is at hand
  world.say("go on");
  world.settle();
  auto ids = world.ids("user.tool_result");
  watched.asked = 0;
  watched.text = 0;
  for (const std::string& of : {std::string("e"), std::string("sevt_"), std::string("sevt_none"),
                                ids.front(), ids.back(), std::string("sevt_%' OR 1")})
    EXPECT_THAT(world.refused(str(R"([{"type":"user.tool_result","tool_use_id":")", of, R"("}])")),
                HasSubstr("names no tool call"));
  EXPECT_EQ(watched.asked, 6);
  EXPECT_EQ(watched.text, 0u);
  // Of a call that was answered only its answer is read, which is shown.
  world.send(str(R"([{"type":"user.tool_result","tool_use_id":")",
                 world.ids("agent.tool_use").front(), R"("}])"));
  EXPECT_EQ(watched.asked, 8);
  EXPECT_LT(watched.text, 2'000u);
}

TEST(LongSession, ACallOfAnotherSessionIsNone) {
  World one, other;
  play(one, 1);
  auto store = one.sqlite.get();
  const std::string call = one.ids("agent.tool_use").front();
  EXPECT_TRUE(*closed_call(*store, one.id, {}, call));
  ASSERT_TRUE(store->add_session({.id = "sesn_2", .agent = "{}"}));
  EXPECT_FALSE(*closed_call(*store, "sesn_2", {}, call));
  EXPECT_FALSE(*closed_call(*store, one.id, {}, ""));
}

TEST(LongSession, LongResultsAreNotShownAgainAHundredTimes) {
  World world;
  world.fake.calls({{"bash", "{}"}});
  world.fake.text("Done.");
  world.say("go on");
  world.settle();
  const std::string call = world.open_calls().at(0);
  auto again = [&](int times) {
    std::string one = str(R"({"type":"user.tool_result","tool_use_id":")", call, R"("})"), all;
    for (int i = 0; i < times; ++i) all += str(all.empty() ? "" : ",", one);
    return str('[', all, ']');
  };
  const std::string long_one =
      str(R"({"type":"user.tool_result","tool_use_id":")", call,
          R"(","content":[{"type":"text","text":")", std::string(1 << 20, '.'), R"("}]})");
  // The first of them is in the same request.
  auto refused = world.sessions->send(
      world.id, boost::json::parse(str('[', long_one, ',', again(60).substr(1))).as_array());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::too_large);
  world.send(str('[', long_one, ']'));
  world.settle();
  refused = world.sessions->send(world.id, boost::json::parse(again(60)).as_array());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::too_large);
  EXPECT_THAT(world.send(again(30)), testing::SizeIs(30));
}

TEST(LongSession, AnArchivedSessionTakesNoRoomFromOthers) {
  World world;
  WatchedStore watched(*world.sqlite);
  world.restart(&watched);
  auto turn = [&](std::size_t size) {
    world.fake.text("Noted.");
    world.say(std::string(size, 'x'));
    world.settle();
  };
  auto begin = [&](std::size_t size) {
    auto made = world.sessions->create(
        {.environment_id = "env_1", .agent_id = "agent_1", .agent = agent_json()}, {});
    ASSERT_TRUE(made);
    world.id = made->id;
    turn(size);
  };
  begin(3 << 20);
  const std::string first = world.id;
  begin(4 << 20);
  ASSERT_TRUE(world.sessions->archive(world.id));
  begin(3 << 20);
  world.id = first;
  watched.text = 0;
  turn(10);
  EXPECT_LT(watched.text, 1u << 20);
}

TEST(LongSession, OfConversationsAtRestTheShortAndTheOldestAreForgotten) {
  auto store = std::move(*SqliteStore::open(":memory:"));
  Conversations conversations(*store);
  auto rest = [&](const std::string& session, int length) {
    ASSERT_TRUE(store->add_session({.id = session, .agent = "{}"}));
    const std::string text(3'000, 'x');
    const Event event{.id = "e",
                      .type = "system.message",
                      .processed_at = 1,
                      .json = str(R"({"content":[{"type":"text","text":")", text, R"("}]})"),
                      .memo = std::string(kStandsHere)};
    std::vector<Event> events(static_cast<std::size_t>(length), event);
    ASSERT_TRUE(store->append(session, events));
    ASSERT_TRUE(conversations.of(session));
    conversations.rest(session);
  };
  rest("sesn_short", 40);
  EXPECT_EQ(conversations.kept(), 0u);
  for (char name : {'a', 'b', 'c'}) rest(str("sesn_", name), 1'000);
  EXPECT_EQ(conversations.kept(), 2u);
  ASSERT_TRUE(conversations.of("sesn_b"));  // at work, it takes no room from those at rest
  rest("sesn_d", 1'000);
  EXPECT_EQ(conversations.kept(), 3u);
  conversations.forget("sesn_b");
  EXPECT_EQ(conversations.kept(), 2u);
  auto again = conversations.of("sesn_a");
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->last_seq(), 1'000);
}

}  // namespace
}  // namespace glovebox::brain

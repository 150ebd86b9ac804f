#include "orchestrator/boxes.h"

#include "orchestrator/fake_engine.h"
#include "runner/fake_service.h"

namespace glovebox::orchestrator {
namespace {

using runner::until;

class BoxesTest : public ::testing::Test {
 public:
  net::Loop loop;
  FakeEngine engine{loop};
  std::shared_ptr<Secret> key = std::make_shared<Secret>("engine-key");
  BoxOptions options{.image = "",
                     .timeout_secs = 3600,
                     .patience = 5'000ms,
                     .first_retry = 1ms,
                     .longest_retry = 2ms};
  std::shared_ptr<Boxes> boxes;
  std::vector<std::string> told;  // of on_box

  void run(Task<void> test) {
    auto ran = net::run(loop, then_close(std::move(test)));
    EXPECT_TRUE(ran) << ran.error().what;
  }
  Task<void> then_close(Task<void> test) {
    boxes = std::make_shared<Boxes>(loop, *http::Url::parse(engine.url()), key, options);
    auto tested = co_await std::move(test);
    CO_TRY_DO(co_await boxes->close(5s));
    CO_TRY_DO(co_await engine.close());
    co_return tested;
  }
  static http::Response refusal(int status, std::string code) {
    return http::json(status, str(R"({"error":"made to fail","code":")", code, "\"}"));
  }
  Task<std::shared_ptr<runner::Hands>> hands(std::string known = "") {
    std::shared_ptr<runner::Hands> made = std::make_shared<BoxHands>(
        boxes, "agent-s", std::move(known), [this](std::string box) { told.push_back(box); });
    CO_TRY_DO(co_await made->open());
    co_return made;
  }
  static runner::ToolCall call(std::string id) { return {id, "bash", R"({"command":"ls"})"}; }

  Task<void> makes_one() {
    CO_TRY(box, co_await boxes->get("agent-s", Boxes::For::new_burst));
    EXPECT_EQ(engine.boxes[box.id].name, "agent-s");
    EXPECT_EQ(engine.boxes[box.id].timeout_secs, 3600);
    EXPECT_TRUE(engine.boxes[box.id].no_network);
    CO_TRY(again, co_await boxes->get("agent-s", Boxes::For::new_burst));
    EXPECT_EQ(again.id, box.id);
    EXPECT_EQ(engine.count("POST /sandboxes"), 1u);
    for (const std::string& line : engine.seen) EXPECT_NE(line, "GET /sandboxes");  // never a list
    co_return ok;
  }
  Task<void> waits(std::string status, std::string later) {
    std::string id = engine.add("agent-s", status);
    engine.then[id] = later;
    CO_TRY(box, co_await boxes->get("agent-s", Boxes::For::new_burst));
    if (later == "running")
      EXPECT_EQ(box.id, id);
    else
      EXPECT_NE(box.id, id);
    co_return ok;
  }
  Task<void> suspended(Boxes::For what, bool kept) {
    std::string id = engine.add("agent-s", "suspended");
    CO_TRY(box, co_await boxes->get("agent-s", what));
    EXPECT_EQ(box.id == id, kept);
    EXPECT_EQ(engine.boxes[id].status, kept ? "running" : "terminated");
    EXPECT_EQ(engine.count("POST /sandboxes/"), kept ? 1u : 0u);
    co_return ok;
  }
  Task<void> rides_out(std::vector<http::Response> answers) {
    for (auto& answer : answers) engine.answers.push_back(std::move(answer));
    std::string id = engine.add("agent-s");
    CO_TRY(box, co_await boxes->get("agent-s", Boxes::For::new_burst));
    EXPECT_EQ(box.id, id);
    EXPECT_EQ(engine.boxes.size(), 1u);
    co_return ok;
  }
  Task<void> unknown_is_not_absent() {
    engine.answers.push_back(refusal(500, "INTERNAL_ERROR"));
    auto box = co_await boxes->get("agent-s", Boxes::For::new_burst);
    EXPECT_FALSE(box);
    EXPECT_EQ(engine.count("POST /sandboxes"), 0u);
    engine.answers.push_back(refusal(404, "NOT_FOUND"));  // some other server's 404
    EXPECT_FALSE(co_await boxes->get("agent-s", Boxes::For::new_burst));
    EXPECT_EQ(engine.count("POST /sandboxes"), 0u);
    co_return ok;
  }
  Task<void> name_taken() {
    engine.answers.push_back(refusal(404, "SANDBOX_NOT_FOUND"));
    std::string id = engine.add("agent-s");
    CO_TRY(box, co_await boxes->get("agent-s", Boxes::For::new_burst));
    EXPECT_EQ(box.id, id);
    co_return ok;
  }
  Task<void> fails_for_good() {
    engine.answers.push_back(refusal(404, "SANDBOX_NOT_FOUND"));
    engine.answers.push_back(refusal(400, "INVALID"));
    auto box = co_await boxes->get("agent-s", Boxes::For::new_burst);
    EXPECT_FALSE(box);
    if (!box)
      EXPECT_NE(box.error().what.find("create sandbox agent-s: made to fail"), std::string::npos);
    EXPECT_EQ(engine.count("POST /sandboxes"), 1u);
    co_return ok;
  }
  Task<void> gives_up() {
    for (int i = 0; i < 1000; ++i) engine.answers.push_back(refusal(503, "UNAVAILABLE"));
    auto box = co_await boxes->get("agent-s", Boxes::For::new_burst);
    EXPECT_FALSE(box);
    if (!box) EXPECT_EQ(box.error().code, Code::unavailable);
    co_return ok;
  }

  // ---- hands

  Task<void> carries_out() {
    CO_TRY(made, co_await hands());
    EXPECT_TRUE(made->has("bash") && made->has("grep"));
    EXPECT_FALSE(made->has("web_search"));
    CO_TRY(result, co_await made->call(call("sevt_1")));
    EXPECT_EQ(result.content, R"("done")");
    EXPECT_FALSE(result.is_error);
    EXPECT_EQ(engine.calls["sevt_1"].box, told.at(0));
    EXPECT_EQ(engine.calls["sevt_1"].tool, "bash");
    EXPECT_EQ(engine.calls["sevt_1"].input, R"({"command":"ls"})");
    co_return ok;
  }
  Task<void> same_key() {
    CO_TRY(made, co_await hands());
    engine.answers.push_back(refusal(503, "UNAVAILABLE"));
    engine.answers.push_back(refusal(401, "AUTH_REQUIRED"));
    CO_TRY(result, co_await made->call(call("sevt_1")));
    EXPECT_EQ(result.content, R"("done")");
    EXPECT_EQ(engine.calls.size(), 1u);
    EXPECT_EQ(engine.count("POST /api/v1/tools/bash"), 3u);
    co_return ok;
  }
  Task<void> odd_key() {
    CO_TRY(made, co_await hands());
    CO_TRY_DO(co_await made->call(call("a b\n" + std::string(300, 'x'))));
    EXPECT_EQ(engine.calls.begin()->first.size(), 64u);
    co_return ok;
  }
  Task<void> keep(Task<runner::ToolResult> call,
                  std::shared_ptr<std::optional<Result<runner::ToolResult>>> into) {
    *into = co_await std::move(call);
    co_return ok;
  }
  Task<void> cancelled(bool leaving) {
    CO_TRY(made, co_await hands());
    engine.blocked = true;
    auto result = std::make_shared<std::optional<Result<runner::ToolResult>>>();
    net::TaskGroup group(loop);
    group.spawn("call", keep(made->call(call("sevt_1")), result));
    CO_TRY_DO(co_await until([&] { return engine.calls.contains("sevt_1"); }));
    if (leaving) boxes->leave_calls();
    CO_TRY_DO(co_await group.finish(5s));
    EXPECT_TRUE(*result && !**result && (*result)->error().code == Code::cancelled);
    CO_TRY_DO(co_await boxes->close(5s));
    EXPECT_EQ(engine.ended.size(), leaving ? 0u : 1u);
    co_return ok;
  }
  Task<void> lost(bool deleted) {
    CO_TRY(made, co_await hands());
    CO_TRY_DO(co_await made->call(call("sevt_1")));
    if (deleted)
      engine.boxes.clear();
    else
      engine.boxes[told[0]].status = "terminated";
    CO_TRY(result, co_await made->call(call("sevt_2")));
    EXPECT_TRUE(result.is_error);
    EXPECT_NE(result.content.find("was lost, with all its files"), std::string::npos);
    EXPECT_FALSE(engine.calls.contains("sevt_2"));
    CO_TRY(next, co_await made->call(call("sevt_3")));
    EXPECT_FALSE(next.is_error);
    EXPECT_EQ(told.size(), 2u);
    EXPECT_EQ(engine.calls["sevt_3"].box, told[1]);
    co_return ok;
  }
  Task<void> fell_asleep() {
    CO_TRY(made, co_await hands());
    engine.boxes[told[0]].status = "suspended";
    CO_TRY(result, co_await made->call(call("sevt_1")));
    EXPECT_FALSE(result.is_error);
    EXPECT_EQ(told.size(), 1u);
    co_return ok;
  }
  Task<void> known_box() {
    std::string id = engine.add("agent-s");
    CO_TRY(same, co_await hands(id));
    CO_TRY(result, co_await same->call(call("sevt_1")));
    EXPECT_FALSE(result.is_error);
    CO_TRY(other, co_await hands("box-of-before"));
    CO_TRY(told_so, co_await other->call(call("sevt_2")));
    EXPECT_TRUE(told_so.is_error);
    CO_TRY(next, co_await other->call(call("sevt_3")));
    EXPECT_FALSE(next.is_error);
    co_return ok;
  }
  Task<void> calls_fault() {
    CO_TRY(made, co_await hands());
    for (auto [status, code] :
         {std::pair{404, "UNKNOWN_TOOL"}, {400, "INVALID"}, {413, "TOO_LARGE"}}) {
      engine.answers.push_back(refusal(status, code));
      CO_TRY(result, co_await made->call(call("sevt_1")));
      EXPECT_TRUE(result.is_error);
      EXPECT_EQ(result.content, R"("Error: made to fail")");
    }
    engine.answers.push_back(refusal(500, "INTERNAL_ERROR"));
    EXPECT_FALSE(co_await made->call(call("sevt_1")));
    co_return ok;
  }
  // What is not there is deleted at the service: only the box itself may say that.
  Task<void> trees() {
    EngineApi api(loop, *http::Url::parse(engine.url()), key);
    engine.answers.push_back(refusal(404, "NOT_FOUND"));
    CO_TRY(nothing, co_await api.tree("box1", "/mnt/memory/m"));
    EXPECT_FALSE(nothing);
    for (auto [status, code] : {std::pair{404, "SANDBOX_NOT_FOUND"},
                                {410, "SANDBOX_TERMINATED"},
                                {409, "SANDBOX_NOT_RUNNING"},
                                {503, "UNAVAILABLE"}}) {
      engine.answers.push_back(refusal(status, code));
      EXPECT_FALSE(co_await api.tree("box1", "/mnt/memory/m")) << code;
      engine.answers.push_back(refusal(status, code));
      EXPECT_FALSE(co_await api.read("box1", "/mnt/memory/m/a")) << code;
    }
    engine.answers.push_back(http::json(200, "[]"));
    EXPECT_FALSE(co_await api.tree("box1", "/mnt/memory/m"));
    engine.answers.push_back(http::json(
        200, R"({"kind":"folder","files":[{"path":"a","size":3,"sha256":"x"},7,{"size":-1}]})"));
    CO_TRY(found, co_await api.tree("box1", "/mnt/memory/m"));
    EXPECT_EQ(found->kind, "folder");
    EXPECT_EQ(found->files.size(), 2u);
    EXPECT_EQ(found->files.at(0).size, 3u);
    EXPECT_EQ(found->files.at(1).size, 0u);
    co_return ok;
  }
};

TEST_F(BoxesTest, AreMadeOnceAndFoundByNameAfterwards) { run(makes_one()); }
TEST_F(BoxesTest, PendingIsWaitedFor) { run(waits("pending", "running")); }
TEST_F(BoxesTest, SnapshottingIsWaitedFor) { run(waits("snapshotting", "running")); }
TEST_F(BoxesTest, SuspendingEndsInACleanOne) { run(waits("suspending", "suspended")); }
TEST_F(BoxesTest, ATerminatedOneIsNone) { run(waits("terminated", "terminated")); }
TEST_F(BoxesTest, ASuspendedOneIsReplaced) { run(suspended(Boxes::For::new_burst, false)); }
TEST_F(BoxesTest, ASuspendedOneIsResumedWhereAsked) {
  options.resume_suspended = true;
  run(suspended(Boxes::For::new_burst, true));
}
TEST_F(BoxesTest, OneThatIsInUseIsResumed) { run(suspended(Boxes::For::in_use, true)); }
TEST_F(BoxesTest, EngineRestartsAreRiddenOut) {
  run(rides_out({refusal(503, "UNAVAILABLE"), refusal(504, "TIMEOUT"), refusal(429, "EXHAUSTED"),
                 refusal(401, "AUTH_REQUIRED")}));
}
TEST_F(BoxesTest, AnErrorIsNotAbsence) { run(unknown_is_not_absent()); }
TEST_F(BoxesTest, ANameTakenMeanwhileIsLookedAtAgain) { run(name_taken()); }
TEST_F(BoxesTest, WhatTheEngineRefusesForGoodIsNotTriedAgain) { run(fails_for_good()); }
TEST_F(BoxesTest, PatienceEnds) {
  options.patience = 20ms;
  run(gives_up());
}
TEST_F(BoxesTest, HandsCarryOutCalls) { run(carries_out()); }
TEST_F(BoxesTest, ABrokenCallIsAskedForAgainByTheSameKey) { run(same_key()); }
TEST_F(BoxesTest, IdsThatAreNoKeysBecomeOne) { run(odd_key()); }
TEST_F(BoxesTest, ACancelledCallIsEnded) { run(cancelled(false)); }
TEST_F(BoxesTest, ACallThatIsLeftGoesOn) { run(cancelled(true)); }
TEST_F(BoxesTest, ALostBoxIsReplacedAndTheModelTold) { run(lost(false)); }
TEST_F(BoxesTest, ADeletedBoxIsReplacedAndTheModelTold) { run(lost(true)); }
TEST_F(BoxesTest, ABoxThatFellAsleepIsWoken) { run(fell_asleep()); }
TEST_F(BoxesTest, ABoxLostOverACrashIsToldToo) { run(known_box()); }
TEST_F(BoxesTest, ABoxThatIsGoneIsNoEmptyFolder) { run(trees()); }
TEST_F(BoxesTest, WhatIsWrongWithACallIsItsResult) { run(calls_fault()); }

}  // namespace
}  // namespace glovebox::orchestrator

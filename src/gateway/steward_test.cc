#include "gateway/steward.h"

#include <gtest/gtest.h>

#include "gateway/uplink_test_parts.h"
#include "http/client.h"

namespace glovebox::gateway {
namespace {

using http::Request;
using http::Response;

// Service and engine in one, which keep what they were asked; an uplink with a steward, and its
// listener on loopback, as the box sees it.
class StewardTest : public ::testing::Test {
 protected:
  StewardTest() : world_(loop_, routes(), {}), uplink_(loop_) {
    auto bound = world_.listen(net::Address{.host = "127.0.0.1"});
    EXPECT_TRUE(bound);
    url_ = "http://" + bound->text();
  }
  void appoint(std::string box_state = "running") {
    box_state_ = std::move(box_state);
    StewardOptions options{.box = "hooks",
                           .port = 5052,
                           .name = "receiver",
                           .service_url = url_,
                           .engine_url = url_,
                           .records = ":memory:",
                           .look = 5ms,
                           .net = 20ms};
    options.may.images = {"host"};
    auto appointed =
        uplink_.appoint(std::move(options), {std::make_shared<const Secret>("the-environments-key"),
                                             std::make_shared<const Secret>("the-engines-key")});
    EXPECT_TRUE(appointed) << appointed.error().what;
  }
  std::vector<http::Route> routes() {
    std::vector<http::Route> all;
    for (auto method : {"GET", "POST", "PUT", "DELETE"})
      all.push_back({method, "/{rest*}", http::Body::whole,
                     [this](Request request) { return answer(std::move(request)); }, 1 << 20});
    return all;
  }
  Task<Response> answer(Request request) {
    asked_.push_back(request);
    const std::string what = request.method + " " + request.path;
    if (what == "GET /glovebox/v1/credential")
      co_return http::json(200, R"({"kind":"environment","environment_id":"env_1"})");
    if (what == "GET /sandboxes/hooks" && box_state_ == "none")
      co_return Error{Code::not_found, "none", "SANDBOX_NOT_FOUND"};
    if (what == "GET /sandboxes/hooks")
      co_return http::json(200, record("hooksid", "hooks", box_state_));
    if (what == "POST /sandboxes/hooksid/uplink") co_return opened();
    if (what == "GET /api/v1/health") box_state_ = "running";
    if (what == "GET /v1/environments/env_1/work/poll")
      co_return http::json(200, std::exchange(queue_, "null"));
    if (what == "GET /v1/sessions/sesn_1")
      co_return http::json(
          200,
          R"({"id":"sesn_1","status":"running","metadata":{},"agent":{"system":"be good","skills":[{"skill_id":"skill_1"}]}})");
    if (what == "GET /sandboxes/agent-a" && engine_box_.empty())
      co_return Error{Code::not_found, "none", "SANDBOX_NOT_FOUND"};
    if (what == "GET /sandboxes/agent-a")
      co_return http::json(200, record(engine_box_, "agent-a", "running"));
    if (what == "POST /sandboxes") {
      if (!engine_box_.empty()) co_return Error{Code::conflict, "taken", "NAME_TAKEN"};
      if (!lose_answer_.empty()) engine_box_ = lose_answer_;
      if (!lose_answer_.empty()) co_return Error{Code::internal, "lost"};
      engine_box_ = "boxa";
      co_return http::json(200, record("boxa", "agent-a", "running"));
    }
    if (what == "GET /api/v1/processes/receiver/output/follow") co_return endless();
    co_return http::json(200, R"({"echo":"the-environments-key the-engines-key the-token"})");
  }
  static std::string record(const std::string& id, const std::string& name,
                            const std::string& state) {
    return str(R"({"id":")", id, R"(","name":")", name, R"(","status":")", state,
               R"(","created_at":)", system_clock().unix_ms(), '}');
  }
  // The engine hands the listener over before it answers.
  Response opened() {
    inside_ = hand_over_listener(uplink_, "hooksid");
    opened_.notify();
    return http::json(200, R"({"url":"","program":""})");
  }
  static Task<void> tick(bool* gone, http::BodyWriter& out) {
    for (;;) {
      auto sent = co_await out.write(": still here\n\n");
      if (sent) sent = co_await net::sleep(5ms);
      if (sent) continue;
      *gone = true;
      co_return sent;
    }
  }
  Response endless() {
    Response response;
    response.headers.set("Content-Type", "text/event-stream");
    response.stream = [this](http::BodyWriter& out) { return tick(&follower_gone_, out); };
    return response;
  }
  Task<void> await_way() {
    while (inside_.empty()) CO_TRY_DO(co_await opened_.wait(10s));
    client_ = std::make_unique<http::Client>(loop_, *http::Url::parse(inside_));
    co_return ok;
  }
  Task<http::ClientResponse> say(std::string method, std::string target, std::string body = "") {
    return client_->call(std::move(method), std::move(target), std::move(body));
  }
  std::size_t times(std::string_view method, std::string_view path) const {
    std::size_t count = 0;
    for (const Request& one : asked_) count += one.method == method && one.path == path;
    return count;
  }
  std::string key_of_last(std::string_view path) const {
    std::string key;
    for (const Request& one : asked_)
      if (one.path == path) key = one.headers.get("Authorization").value_or("");
    return key;
  }
  void run(Task<void> test) {
    auto ran = net::run(loop_, then_close(std::move(test)));
    EXPECT_TRUE(ran) << ran.error().what;
  }
  Task<void> then_close(Task<void> test) {
    auto tested = co_await std::move(test);
    client_.reset();
    (void)co_await uplink_.close();
    (void)co_await world_.drain(1s);
    co_return tested;
  }
  void queue_item() {
    queue_ = str(
        R"({"id":"work_1","environment_id":"env_1","data":{"type":"session","id":"sesn_1"},"secret":")",
        base64url(R"({"sessions_token":"the-token"})"), "\"}");
  }

  net::Loop loop_;
  http::Server world_;
  Uplink uplink_;
  std::string url_, inside_, box_state_, queue_ = "null", engine_box_, lose_answer_;
  bool follower_gone_ = false;
  net::Event opened_;
  std::unique_ptr<http::Client> client_;
  std::vector<Request> asked_;

 public:
  Task<void> from_queue_to_grant();
  Task<void> lost_answer();
  Task<void> others_box();
  Task<void> others_name();
  Task<void> stays_awake();
  Task<void> lost_webhook();
  Task<void> missing();
  Task<void> looked_for_a_while();
};

Task<void> StewardTest::from_queue_to_grant() {
  appoint();
  CO_TRY_DO(co_await await_way());
  CO_TRY(credential, co_await say("GET", "/glovebox/v1/credential"));
  EXPECT_EQ(credential.body, R"({"kind":"environment","environment_id":"env_1"})");
  queue_item();
  CO_TRY(polled, co_await say("GET", "/v1/environments/env_1/work/poll"));
  EXPECT_TRUE(polled.body.contains("work_1")) << polled.body;
  EXPECT_FALSE(polled.body.contains(base64url(R"({"sessions_token":"the-token"})")));
  CO_TRY(acked, co_await say("POST", "/v1/environments/env_1/work/work_1/ack"));
  EXPECT_EQ(acked.status, 200);
  EXPECT_FALSE(acked.body.contains("the-environments-key")) << acked.body;
  EXPECT_EQ(key_of_last("/v1/environments/env_1/work/work_1/ack"), "Bearer the-environments-key");
  CO_TRY(session, co_await say("GET", "/v1/sessions/sesn_1"));
  EXPECT_FALSE(session.body.contains("be good"));
  EXPECT_EQ(key_of_last("/v1/sessions/sesn_1"), "Bearer the-token");
  CO_TRY(none, co_await say("GET", "/sandboxes/agent-a"));
  EXPECT_EQ(none.status, 404);
  EXPECT_TRUE(none.body.contains("SANDBOX_NOT_FOUND"));
  CO_TRY(made, co_await say("POST", "/sandboxes",
                            R"({"name":"agent-a","network":{"allow_internet_access":false}})"));
  EXPECT_TRUE(made.body.contains(R"("sandbox_id":"boxa")")) << made.body;
  EXPECT_EQ(key_of_last("/sandboxes"), "Bearer the-engines-key");
  CO_TRY(granted, co_await say("PUT", "/grants/boxa", R"({"work_id":"work_1"})"));
  EXPECT_EQ(granted.status, 200) << granted.body;
  EXPECT_TRUE(uplink_.renew("boxa", "work_1"));
  CO_TRY(other, co_await say("PUT", "/grants/hooksid", R"({"work_id":"work_1"})"));
  EXPECT_EQ(other.status, 404);
  CO_TRY(taken, co_await say("DELETE", "/grants/boxa?work_id=work_1"));
  EXPECT_FALSE(uplink_.renew("boxa", "work_1"));
  CO_TRY(gone, co_await say("DELETE", "/sandboxes/boxa"));
  CO_TRY(after, co_await say("DELETE", "/sandboxes/boxa"));
  EXPECT_EQ(after.status, 404);
  EXPECT_EQ(times("DELETE", "/sandboxes/boxa"), 1u);
  co_return ok;
}
TEST_F(StewardTest, TakesAnItemMakesItsBoxAndGrantsItsWay) { run(from_queue_to_grant()); }

Task<void> StewardTest::lost_answer() {
  appoint();
  CO_TRY_DO(co_await await_way());
  lose_answer_ = "boxa";
  CO_TRY(made, co_await say("POST", "/sandboxes",
                            R"({"name":"agent-a","network":{"allow_internet_access":false}})"));
  EXPECT_EQ(made.status, 500);
  CO_TRY(found, co_await say("GET", "/sandboxes/agent-a"));
  EXPECT_EQ(found.status, 200) << found.body;
  CO_TRY(resumed, co_await say("POST", "/sandboxes/boxa/resume"));
  EXPECT_EQ(resumed.status, 200);
  co_return ok;
}
TEST_F(StewardTest, ABoxWhoseAnswerWasLostIsKnownAgain) { run(lost_answer()); }

Task<void> StewardTest::others_box() {
  appoint();
  CO_TRY_DO(co_await await_way());
  engine_box_ = "boxb";
  CO_TRY(found, co_await say("GET", "/sandboxes/agent-a"));
  EXPECT_EQ(found.status, 403) << found.body;
  EXPECT_TRUE(found.body.contains("glovebox sandbox rm")) << found.body;
  CO_TRY(removed, co_await say("DELETE", "/sandboxes/boxb"));
  EXPECT_EQ(removed.status, 404);
  EXPECT_EQ(times("DELETE", "/sandboxes/boxb"), 0u);
  co_return ok;
}
TEST_F(StewardTest, ABoxOfThatNameThatSomebodyElseMadeIsNotItsOwn) { run(others_box()); }

// Who has asked for the name of another's box, and was refused, has no claim to the next one.
Task<void> StewardTest::others_name() {
  appoint();
  CO_TRY_DO(co_await await_way());
  engine_box_ = "boxb";
  CO_TRY(made, co_await say("POST", "/sandboxes",
                            R"({"name":"agent-a","network":{"allow_internet_access":false}})"));
  EXPECT_EQ(made.status, 409) << made.body;
  engine_box_ = "boxc";
  CO_TRY(found, co_await say("GET", "/sandboxes/agent-a"));
  EXPECT_EQ(found.status, 403) << found.body;
  CO_TRY(removed, co_await say("DELETE", "/sandboxes/boxc"));
  EXPECT_EQ(removed.status, 404);
  EXPECT_EQ(times("DELETE", "/sandboxes/boxc"), 0u);
  co_return ok;
}
TEST_F(StewardTest, ANameThatWasTakenLeadsToNoBoxOfOthers) { run(others_name()); }

Task<void> StewardTest::stays_awake() {
  appoint();
  CO_TRY_DO(co_await await_way());
  {
    CO_TRY(held, co_await client_->open("GET", "/awake"));
    EXPECT_EQ(held.status, 200);
    CO_TRY(piece, co_await held.body->read());
    EXPECT_EQ(piece.find_first_not_of('\n'), std::string::npos) << piece;
    EXPECT_EQ(key_of_last("/api/v1/processes/receiver/output/follow"), "Bearer the-engines-key");
  }
  client_.reset();
  while (!follower_gone_) CO_TRY_DO(co_await net::sleep(5ms));
  co_return ok;
}
TEST_F(StewardTest, IsKeptAwakeForAsLongAsItReads) { run(stays_awake()); }

Task<void> StewardTest::lost_webhook() {
  appoint();
  CO_TRY_DO(co_await await_way());
  box_state_ = "suspended";
  queue_item();
  while (times("GET", "/api/v1/health") == 0) CO_TRY_DO(co_await net::sleep(5ms));
  const std::size_t polls = times("GET", "/v1/environments/env_1/work/poll");
  CO_TRY(polled, co_await say("GET", "/v1/environments/env_1/work/poll"));
  EXPECT_TRUE(polled.body.contains("work_1")) << polled.body;
  EXPECT_EQ(times("GET", "/v1/environments/env_1/work/poll"), polls);
  CO_TRY(once, co_await say("GET", "/v1/environments/env_1/work/poll"));
  EXPECT_EQ(once.body, "null");
  co_return ok;
}
TEST_F(StewardTest, WorkOfALostWebhookWakesIt) { run(lost_webhook()); }

Task<void> StewardTest::looked_for_a_while() {
  const std::size_t before = times("GET", "/sandboxes/hooks");
  while (times("GET", "/sandboxes/hooks") < before + 20) CO_TRY_DO(co_await net::sleep(5ms));
  co_return ok;
}

Task<void> StewardTest::missing() {
  appoint("none");
  CO_TRY_DO(co_await looked_for_a_while());
  box_state_ = "running";
  CO_TRY_DO(co_await await_way());
  box_state_ = "none";
  co_return co_await looked_for_a_while();
}
TEST_F(StewardTest, ThatItsBoxIsNotThereIsSaidOnceEachTime) {
  ::testing::internal::CaptureStderr();
  run(missing());
  const std::string said = ::testing::internal::GetCapturedStderr();
  std::size_t count = 0;
  for (std::size_t at = 0; (at = said.find("steward.no_box", at)) != said.npos; ++at) ++count;
  EXPECT_EQ(count, 2u) << said;
}

}  // namespace
}  // namespace glovebox::gateway

#include "gateway/uplink.h"

#include <gtest/gtest.h>

#include "gateway/uplink_test_parts.h"
#include "http/client.h"

namespace glovebox::gateway {
namespace {

// A service that keeps what it was asked and answers as the test likes, and an uplink with a
// listener on loopback, as a box would see it.
class UplinkTest : public ::testing::Test {
 protected:
  UplinkTest() : service_(loop_, routes(), {}), uplink_(loop_, limits()) {
    auto bound = service_.listen(net::Address{.host = "127.0.0.1"});
    EXPECT_TRUE(bound);
    url_ = "http://" + bound->text();
  }
  static UplinkLimits limits() {
    UplinkLimits limits;
    limits.streams = 1;
    limits.free_body = 1024;
    limits.large_bodies = 1;
    limits.turn = 200ms;
    limits.grant_life = 10s;
    limits.sweep = 10ms;
    return limits;
  }
  std::vector<http::Route> routes() {
    std::vector<http::Route> all;
    for (auto method : {"GET", "POST", "DELETE"})
      all.push_back({method, "/{rest*}", http::Body::whole,
                     [this](http::Request request) { return answer(std::move(request)); },
                     32 << 20});
    return all;
  }
  Task<http::Response> answer(http::Request request) {
    asked_.push_back(std::move(request));
    if (hold_) (void)co_await released_.wait(10s);
    http::Response response = http::json(status_, body_);
    response.headers.set("Set-Cookie", "a=b");
    response.headers.set("request-id", "req_7");
    if (asked_.back().path.ends_with("/stream")) response = endless();
    co_return response;
  }
  static Task<void> tick(http::BodyWriter& out) {
    for (;;) {
      CO_TRY_DO(co_await out.write("event: ping\ndata: {}\n\n"));
      CO_TRY_DO(co_await net::sleep(10ms));
    }
  }
  static http::Response endless() {
    http::Response response;
    response.headers.set("Content-Type", "text/event-stream");
    response.stream = [](http::BodyWriter& out) { return tick(out); };
    return response;
  }

  Grant grant(std::string session = "sesn_1", std::string work = "work_1") {
    Grant grant;
    grant.environment = "env_1";
    grant.work = std::move(work);
    grant.session = std::move(session);
    grant.service_url = url_;
    grant.credential = Secret("the-token");
    return grant;
  }
  // As the engine hands one over.
  std::string listen(const std::string& box = "box1") { return hand_over_listener(uplink_, box); }
  http::Client& client(const std::string& url) {
    clients_.push_back(std::make_unique<http::Client>(loop_, *http::Url::parse(url)));
    return *clients_.back();
  }
  void run(Task<void> test) {
    auto ran = net::run(loop_, then_close(std::move(test)));
    EXPECT_TRUE(ran) << ran.error().what;
  }
  Task<void> then_close(Task<void> test) {
    auto tested = co_await std::move(test);
    hold_ = false;
    released_.notify();
    clients_.clear();
    (void)co_await uplink_.close();
    (void)co_await service_.drain(1s);
    co_return tested;
  }

  net::Loop loop_;
  http::Server service_;
  Uplink uplink_;
  std::string url_, body_ = "{}";
  int status_ = 200;
  bool hold_ = false;
  net::Event released_;
  std::vector<http::Request> asked_;
  std::vector<std::unique_ptr<http::Client>> clients_;

 public:
  Task<void> credential_is_added();
  Task<void> answers_come_back();
  Task<void> ends_with_its_grant();
  Task<void> expires();
  Task<void> refuses_crowds();
  Task<void> one_large_body();
  Task<void> service_is_away();
  Task<void> a_door();
  Task<void> hear(std::uint64_t before, std::uint64_t* now) {
    CO_TRY(number, co_await uplink_.hints(before, 10s));
    *now = number;
    co_return ok;
  }
};

Task<void> UplinkTest::credential_is_added() {
  EXPECT_TRUE(uplink_.grant("box1", grant()));
  http::Headers lies;
  lies.set("Authorization", "Bearer lies");
  lies.set("X-Api-Key", "lies");
  auto& box = client(listen());
  CO_TRY(got, co_await box.call("GET", "/v1/sessions/sesn_1", "", lies));
  EXPECT_EQ(got.status, 200);
  CO_TRY(other, co_await box.call("GET", "/v1/sessions/sesn_2", "", lies));
  EXPECT_EQ(other.status, 404);
  EXPECT_TRUE(other.body.contains(R"("type":"not_found_error")")) << other.body;
  EXPECT_EQ(asked_.size(), 1u);
  EXPECT_EQ(asked_[0].headers.get("Authorization"), "Bearer the-token");
  EXPECT_FALSE(asked_[0].headers.get("X-Api-Key"));
  auto status = uplink_.renew("box1", "work_1");
  EXPECT_EQ(status->requests, 1u);
  EXPECT_EQ(status->refused, 1u);
  co_return ok;
}
TEST_F(UplinkTest, TheCredentialIsAddedOutsideAndWhatWasNotGrantedIsNotThere) {
  run(credential_is_added());
}

Task<void> UplinkTest::answers_come_back() {
  EXPECT_TRUE(uplink_.grant("box1", grant()));
  auto& box = client(listen());
  body_ = R"({"echo":"Bearer the-token"})";
  status_ = 409;
  CO_TRY(got, co_await box.call("GET", "/v1/sessions/sesn_1"));
  EXPECT_EQ(got.status, 409);
  EXPECT_EQ(got.body, R"({"echo":"Bearer *********"})");
  EXPECT_EQ(got.headers.get("request-id"), "req_7");
  EXPECT_FALSE(got.headers.get("Set-Cookie"));
  status_ = 302;
  CO_TRY(moved, co_await box.call("GET", "/v1/sessions/sesn_1"));
  EXPECT_EQ(moved.status, 503);
  co_return ok;
}
TEST_F(UplinkTest, AnswersComeBackWithoutTheCredential) { run(answers_come_back()); }

Task<void> UplinkTest::ends_with_its_grant() {
  EXPECT_TRUE(uplink_.grant("box1", grant()));
  const std::string url = listen();
  CO_TRY(stream, co_await client(url).open("GET", "/v1/sessions/sesn_1/events/stream"));
  CO_TRY_DO(co_await stream.body->read());
  uplink_.revoke("box1", "work_other");  // an item that is over already: says nothing
  EXPECT_TRUE(uplink_.renew("box1", "work_1"));
  // Another item has the box: what ran under the first one's grant is cut.
  EXPECT_TRUE(uplink_.grant("box1", grant("sesn_1", "work_2")));
  for (;;) {
    auto piece = co_await stream.body->read();
    if (!piece || piece->empty()) break;
  }
  EXPECT_FALSE(uplink_.renew("box1", "work_1"));
  EXPECT_FALSE(uplink_.renew("box1", "work_2")->listening);
  EXPECT_FALSE(co_await client(url).call("GET", "/v1/sessions/sesn_1"));
  CO_TRY(again, co_await client(listen()).call("GET", "/v1/sessions/sesn_1"));
  EXPECT_EQ(again.status, 200);
  co_return ok;
}
TEST_F(UplinkTest, WhatRunsUnderAGrantEndsWithIt) { run(ends_with_its_grant()); }

Task<void> UplinkTest::refuses_crowds() {
  EXPECT_TRUE(uplink_.grant("box1", grant()));
  const std::string url = listen();
  CO_TRY(first, co_await client(url).open("GET", "/v1/sessions/sesn_1/events/stream"));
  CO_TRY(second, co_await client(url).call("GET", "/v1/sessions/sesn_1/events/stream"));
  EXPECT_EQ(second.status, 429);
  first.body.reset();
  for (int i = 0;; ++i) {
    CO_TRY(third, co_await client(url).open("GET", "/v1/sessions/sesn_1/events/stream"));
    if (third.status == 200) break;
    if (i > 100) co_return Error{Code::internal, "its place is not given back"};
    CO_TRY_DO(co_await net::sleep(20ms));
  }
  co_return ok;
}
TEST_F(UplinkTest, ABoxHasSoManyStreamsAndGetsThePlaceBack) { run(refuses_crowds()); }

Task<void> call_with(http::Client* box, std::string body, int* status) {
  CO_TRY(got, co_await box->call("POST", "/v1/sessions/sesn_1/events", body));
  *status = got.status;
  co_return ok;
}

Task<void> UplinkTest::one_large_body() {
  EXPECT_TRUE(uplink_.grant("box1", grant()));
  EXPECT_TRUE(uplink_.grant("box2", grant("sesn_1", "work_2")));
  auto& first = client(listen("box1"));
  auto& second = client(listen("box2"));
  const std::string large =
      str(R"({"events":[{"type":"user.tool_result","tool_use_id":"a","content":[)",
          R"({"type":"text","text":")", std::string(100'000, 'x'), "\"}]}]}");
  hold_ = true;
  int status = 0, late = 0;
  net::TaskGroup group(loop_);
  group.spawn("first", call_with(&first, large, &status));
  for (int i = 0; asked_.empty() && i < 400; ++i) CO_TRY_DO(co_await net::sleep(5ms));
  EXPECT_EQ(asked_.size(), 1u);
  // No place for a second large one, and all the room for small ones.
  CO_TRY_DO(co_await call_with(&second, large, &late));
  EXPECT_EQ(late, 429);
  hold_ = false;
  CO_TRY_DO(co_await call_with(
      &second, R"({"events":[{"type":"user.tool_result","tool_use_id":"a"}]})", &late));
  EXPECT_EQ(late, 200);
  released_.notify();
  for (int i = 0; status == 0 && i < 400; ++i) CO_TRY_DO(co_await net::sleep(5ms));
  EXPECT_EQ(status, 200);
  CO_TRY_DO(co_await call_with(&second, large, &late));
  EXPECT_EQ(late, 200);
  co_return co_await group.finish(1s);
}
TEST_F(UplinkTest, LargeResultsTakeTurns) { run(one_large_body()); }

Task<void> UplinkTest::service_is_away() {
  Grant nowhere = grant();
  nowhere.service_url = "http://127.0.0.1:1";
  EXPECT_TRUE(uplink_.grant("box1", std::move(nowhere)));
  CO_TRY(got, co_await client(listen()).call("GET", "/v1/sessions/sesn_1"));
  EXPECT_EQ(got.status, 503);
  EXPECT_FALSE(got.body.contains("127.0.0.1")) << got.body;
  co_return ok;
}
TEST_F(UplinkTest, WhereTheServiceIsABoxDoesNotLearn) { run(service_is_away()); }

TEST_F(UplinkTest, AListenerWithoutAGrantIsNotKept) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  Fd other(ends[1]);
  std::vector<Fd> fds;
  fds.emplace_back(ends[0]);
  EXPECT_EQ(uplink_.take_listener("uplink box1", std::move(fds)).error().code, Code::invalid);
  auto listener = net::Listener::bind(net::Address{.host = "127.0.0.1"});
  std::vector<Fd> good;
  good.push_back(std::move(*listener));
  EXPECT_EQ(uplink_.take_listener("uplink box1", std::move(good)).error().code, Code::not_found);
  EXPECT_EQ(uplink_.take_listener("resolver box1", {}).error().code, Code::invalid);
}

Task<void> UplinkTest::expires() {
  UplinkLimits brief = limits();
  brief.grant_life = 100ms;
  Uplink uplink(loop_, brief);
  EXPECT_TRUE(uplink.grant("box1", grant()));
  for (int i = 0; i < 4; ++i) {
    CO_TRY_DO(co_await net::sleep(20ms));
    EXPECT_TRUE(uplink.renew("box1", "work_1"));
  }
  while (true) {
    CO_TRY_DO(co_await net::sleep(200ms));
    if (!uplink.renew("box1", "work_1")) break;
  }
  co_return co_await uplink.close();
}
TEST_F(UplinkTest, AGrantThatNobodyRenewsEnds) { run(expires()); }

Task<void> UplinkTest::a_door() {
  EXPECT_FALSE(uplink_.keep_door("../x"));
  auto door = uplink_.keep_door("box1");
  EXPECT_TRUE(door && !door->listening && !door->heard);
  EXPECT_FALSE(uplink_.grant("box1", grant()));  // a box has one of both
  auto& box = client(listen());
  CO_TRY(unheard, co_await box.call("POST", "/drain"));
  EXPECT_EQ(unheard.status, 503);
  CO_TRY(before, co_await uplink_.hints(0, 0ms));
  std::uint64_t now = before;
  net::TaskGroup group(loop_);
  group.spawn("hear", hear(before, &now));
  while (!uplink_.keep_door("box1")->heard) CO_TRY_DO(co_await net::yield());
  CO_TRY(heard, co_await box.call("POST", "/drain"));
  EXPECT_EQ(heard.status, 200);
  while (now == before) CO_TRY_DO(co_await net::yield());
  // Between two questions of one who hears nothing is lost.
  CO_TRY(between, co_await box.call("POST", "/drain"));
  EXPECT_EQ(between.status, 200);
  CO_TRY(more, co_await uplink_.hints(now, 10s));
  EXPECT_NE(more, now);
  for (const char* none : {"/grants/box1", "/doors/box1", "/hints", "/v1/sessions/sesn_1", "/"}) {
    CO_TRY(got, co_await box.call("GET", none));
    EXPECT_EQ(got.status, 404) << none;
  }
  EXPECT_TRUE(asked_.empty());
  uplink_.close_door("box1");
  co_return co_await group.finish(1s);
}
TEST_F(UplinkTest, ThroughADoorThereIsOneThingToSayAndSomebodyHasToHearIt) { run(a_door()); }

TEST(Grant, IsReadStrictly) {
  const std::string good =
      R"({"environment_id":"env_1","work_id":"work_1","session_id":"sesn_1","service_url":"http://h:1",)"
      R"("credential":"c","skills":["xlsx"],"memory_stores":[{"id":"m","read_only":true}])";
  auto grant = decode_grant(good + "}");
  ASSERT_TRUE(grant) << grant.error().what;
  EXPECT_TRUE(grant->has_skill("xlsx"));
  EXPECT_TRUE(grant->store("m")->read_only);
  auto with = decode_grant(good + R"(,"headers":"X: y\nauthorization: z\nX-Api-Key: z"})");
  ASSERT_TRUE(with) << with.error().what;
  EXPECT_EQ(with->headers.all().size(), 1u);
  for (const char* bad :
       {R"(,"headers":"Host: x"})", R"(,"headers":["X: y"]})", R"(,"session_id":"a/b"})",
        R"(,"session_id":"."})", R"(,"work_id":""})", R"(,"credential":"a b"})",
        R"(,"credential":"a\nb"})", R"(,"service_url":"ftp://x"})", R"(,"skills":["../x"]})",
        R"(,"memory_stores":["m"]})", R"(,"extra":1})"})
    EXPECT_FALSE(decode_grant(good + bad)) << bad;
}

}  // namespace
}  // namespace glovebox::gateway

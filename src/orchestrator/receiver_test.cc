#include "orchestrator/receiver.h"

#include <gtest/gtest.h>

#include "http/client.h"
#include "net/task.h"
#include "wire/webhook.h"

namespace glovebox::orchestrator {
namespace {

const std::string kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const std::string kOther = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

class StillClock final : public Clock {
 public:
  std::int64_t ms = 1'700'000'000'000;
  std::int64_t unix_ms() const override { return ms; }
  std::chrono::steady_clock::time_point monotonic() const override { return {}; }
};

class Received : public ::testing::Test {
 public:
  net::Loop loop;
  StillClock clock;
  int hints = 0;
  bool nobody = false;  // takes them
  std::unique_ptr<Receiver> receiver;
  std::function<void(http::Headers&)> bend = [](http::Headers&) {};

  static std::vector<Secret> keys(const std::string& text) {
    auto keys = signing_keys(text);
    EXPECT_TRUE(keys);
    return keys ? std::move(*keys) : std::vector<Secret>();
  }
  void open(Receiver::Keys with) {
    receiver = std::make_unique<Receiver>(std::move(with), [this] { return hint(); }, clock);
  }
  Task<void> hint() {
    if (nobody) co_return Error{Code::unavailable, "nobody"};
    ++hints;
    co_return ok;
  }
  static std::string event(const std::string& type = "session.status_run_started") {
    return str(R"({"type":"event","id":"evt","data":{"type":")", type, R"(","id":"sesn_1"}})");
  }

  struct Send {
    std::string method = "POST", path = "/", body, id = "evt_1", secret = kSecret;
    std::int64_t age = 0;
  };
  std::vector<std::pair<int, std::string>> got;

  Task<void> deliver(std::vector<Send> all) {
    http::Server server(loop, receiver->routes(), Receiver::server_options());
    CO_TRY(address, server.listen(net::Address{.host = "127.0.0.1"}));
    CO_TRY(url, http::Url::parse("http://" + address.text()));
    http::Client client(loop, std::move(url), {}, {});
    for (const Send& send : all) {
      const std::int64_t at = clock.ms / 1000 - send.age;
      http::Headers headers;
      if (!send.secret.empty()) {
        CO_TRY(key, wire::webhook_key(send.secret));
        headers.set("webhook-id", send.id);
        headers.set("webhook-timestamp", str(at));
        headers.set("webhook-signature", wire::sign_webhook(key, send.id, at, send.body));
      }
      bend(headers);
      CO_TRY(answer, co_await client.call(send.method, send.path, send.body, std::move(headers)));
      got.emplace_back(answer.status, answer.body);
    }
    co_return co_await server.drain(1s);
  }
  void send(std::vector<Send> all) {
    got.clear();
    auto ran = net::run(loop, deliver(std::move(all)));
    EXPECT_TRUE(ran) << ran.error().what;
  }
};

TEST_F(Received, ADeliveryIsAnsweredAndIsAHint) {
  open(keys(kSecret));
  send({{.body = event()}});
  EXPECT_EQ(got[0], std::pair(200, std::string(R"({"status":"queued"})")));
  EXPECT_EQ(hints, 1);
}

TEST_F(Received, TheSameEventAgainIsNone) {
  open(keys(kSecret));
  // An attempt of its own has a time and a signature of its own.
  send({{.body = event()}, {.body = event(), .age = 5}, {.body = event(), .id = "evt_2"}});
  EXPECT_EQ(got[1].second, R"({"status":"duplicate"})");
  EXPECT_EQ(hints, 2);
  clock.ms += 20 * 60'000;  // it is remembered as long as it is tried
  send({{.body = event()}});
  EXPECT_EQ(hints, 3);
}

TEST_F(Received, WhatNobodyTakesIsToBeTriedAgain) {
  open(keys(kSecret));
  nobody = true;
  send({{.body = event()}});
  EXPECT_EQ(got[0].first, 503);
  nobody = false;
  send({{.body = event()}});
  EXPECT_EQ(got[0].second, R"({"status":"queued"})");
  EXPECT_EQ(hints, 1);
}

TEST_F(Received, OtherEventsAreTakenAndMeanNothing) {
  open(keys(kSecret));
  send({{.body = event("session.status_idled"), .id = "a"},
        {.body = "no json", .id = "b"},
        {.body = "[]", .id = "c"},
        {.body = R"({"data":[]})", .id = "d"},
        {.body = "", .id = "e"}});
  for (const auto& [status, body] : got) EXPECT_EQ(body, R"({"status":"ignored"})");
  EXPECT_EQ(hints, 0);
}

TEST_F(Received, WhatIsNotSignedForUsIsRefusedInOneWay) {
  open(keys(kSecret));
  send({{.body = event(), .secret = ""},
        {.body = event(), .secret = kOther},
        {.body = event(), .age = 301},
        {.body = event(), .age = -301}});
  for (const auto& [status, body] : got) {
    EXPECT_EQ(status, 401);
    EXPECT_NE(body.find("not signed for this endpoint"), std::string::npos);
    EXPECT_EQ(body.find("old"), std::string::npos);  // why is for the log
  }
  bend = [](http::Headers& headers) { headers.set("webhook-id", "another"); };
  send({{.body = event()}});
  EXPECT_EQ(got[0].first, 401);
  EXPECT_EQ(hints, 0);
  EXPECT_EQ(receiver->counts().refused, 5u);
}

TEST_F(Received, KeysAreExchangedWithoutAGap) {
  open(keys(kSecret + " " + kOther));
  send({{.body = event(), .id = "a"}, {.body = event(), .id = "b", .secret = kOther}});
  EXPECT_EQ(hints, 2);
  receiver->set_keys(keys(kOther));
  send({{.body = event(), .id = "c"}, {.body = event(), .id = "d", .secret = kOther}});
  EXPECT_EQ(got[0].first, 401);
  EXPECT_EQ(hints, 3);
}

TEST_F(Received, WithoutAKeyNothingIsReal) {
  open(std::vector<Secret>());
  send({{.body = event()}, {.body = event(), .secret = ""}});
  EXPECT_EQ(got[0].first, 401);
  EXPECT_EQ(got[1].first, 401);
  for (const char* none : {"", "  ", "whsec_", "secret", "whsec_!!", "whsec_QUJD"})
    EXPECT_FALSE(signing_keys(none)) << none;
}

TEST_F(Received, BehindAPortThatVerifiesNothingIsCheckedTwice) {
  open(std::nullopt);
  bend = [](http::Headers& headers) { headers.set("webhook-id", "evt_9"); };
  send({{.body = event(), .secret = ""}, {.body = event(), .secret = ""}});
  EXPECT_EQ(got[0].second, R"({"status":"queued"})");
  EXPECT_EQ(got[1].second, R"({"status":"duplicate"})");
  EXPECT_EQ(hints, 1);
}

TEST_F(Received, HealthSaysNothingPrivateAndLargeBodiesAreNotRead) {
  open(keys(kSecret));
  send({{.method = "GET", .path = "/healthz", .secret = ""},
        {.body = std::string(65 * 1024, 'x')},
        {.method = "GET", .path = "/", .secret = ""},
        {.method = "POST", .path = "/other", .body = event()}});
  EXPECT_EQ(got[0], std::pair(200, std::string(R"({"ok":true})")));
  EXPECT_EQ(got[1].first, 413);
  EXPECT_EQ(got[2].first, 405);
  EXPECT_EQ(got[3].first, 404);
  EXPECT_EQ(hints, 0);
}

}  // namespace
}  // namespace glovebox::orchestrator

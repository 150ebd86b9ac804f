#include "gateway/webhook_gate.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"
#include "sys/tree.h"
#include "wire/webhook.h"

namespace glovebox::gateway {
namespace {

class FakeClock : public Clock {
 public:
  std::int64_t unix_ms() const override { return now_ms; }
  std::chrono::steady_clock::time_point monotonic() const override { return {}; }
  std::int64_t now_ms = system_clock().unix_ms();
  std::int64_t secs() const { return now_ms / 1000; }
};

struct Gate : testing::Test {
  ~Gate() override { std::filesystem::remove_all(directory); }

  std::string directory = make_temp_dir("glovebox-gate");
  FakeClock clock;
  std::vector<Secret> secrets{Secret(wire::new_webhook_secret())};

  WebhookGate open() { return *WebhookGate::open(directory + "/replay", clock); }
  http::Headers signed_with(const Secret& secret, std::string_view id, std::int64_t at,
                            std::string_view body) {
    http::Headers headers;
    headers.set("Webhook-Id", std::string(id));
    headers.set("webhook-timestamp", str(at));
    headers.set("webhook-signature",
                wire::sign_webhook(*wire::webhook_key(secret.reveal()), id, at, body));
    return headers;
  }
  http::Headers good(std::string_view id, std::string_view body) {
    return signed_with(secrets[0], id, clock.secs(), body);
  }
};

TEST_F(Gate, ASignedDeliveryComesInOnce) {
  WebhookGate gate = open();
  auto headers = good("msg_1", "{}");
  EXPECT_TRUE(gate.admit("box 5051", secrets, headers, "{}"));
  auto again = gate.admit("box 5051", secrets, headers, "{}");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::conflict);
  EXPECT_EQ(again.error().tag, "WEBHOOK_REPLAYED");
  EXPECT_TRUE(gate.admit("box 5052", secrets, headers, "{}"));  // another port's delivery
  // Tried again by its sender: signed anew.
  EXPECT_TRUE(gate.admit("box 5051", secrets,
                         signed_with(secrets[0], "msg_1", clock.secs() + 1, "{}"), "{}"));
}

TEST_F(Gate, WhatTheBoxDidNotTakeMayComeAgain) {
  WebhookGate gate = open();
  auto headers = good("msg_1", "{}");
  auto ticket = gate.admit("box 5051", secrets, headers, "{}");
  ASSERT_TRUE(ticket);
  gate.refused(*ticket);
  EXPECT_TRUE(gate.admit("box 5051", secrets, headers, "{}"));
  EXPECT_FALSE(gate.admit("box 5051", secrets, headers, "{}"));
}

TEST_F(Gate, AForgedDeliveryDoesNotComeIn) {
  WebhookGate gate = open();
  auto without = [&](std::string_view name) {
    auto headers = good("msg_1", "{}");
    headers.remove(name);
    return headers;
  };
  auto with = [&](std::string_view name, std::string value) {
    auto headers = good("msg_1", "{}");
    headers.set(name, std::move(value));
    return headers;
  };
  auto twice = [&](std::string_view name) {
    auto headers = good("msg_1", "{}");
    headers.add(name, std::string(*headers.get(name)));
    return headers;
  };
  const Secret other(wire::new_webhook_secret());
  const std::int64_t now = clock.secs();
  std::pair<const char*, http::Headers> cases[] = {
      {"no headers", {}},
      {"no id", without("webhook-id")},
      {"no time", without("webhook-timestamp")},
      {"no signature", without("webhook-signature")},
      {"another id", with("webhook-id", "msg_2")},
      {"another time", with("webhook-timestamp", str(now + 1))},
      {"an empty id", with("webhook-id", "")},
      {"a signature of nothing", with("webhook-signature", "v1,")},
      {"another version",
       with("webhook-signature",
            "v2," + std::string(good("msg_1", "{}").get("webhook-signature")->substr(3)))},
      {"time with a sign", with("webhook-timestamp", str("+", now))},
      {"time with a zero", with("webhook-timestamp", str("0", now))},
      {"two ids", twice("webhook-id")},
      {"two times", twice("webhook-timestamp")},
      {"two signatures", twice("webhook-signature")},
      {"another's secret", signed_with(other, "msg_1", now, "{}")},
      {"another body", good("msg_1", "{ }")},
      {"too old", signed_with(secrets[0], "msg_1", now - 301, "{}")},
      {"from the future", signed_with(secrets[0], "msg_1", now + 301, "{}")},
  };
  for (const auto& [what, headers] : cases) {
    auto refused = gate.admit("box 5051", secrets, headers, "{}");
    ASSERT_FALSE(refused) << what;
    EXPECT_EQ(refused.error().code, Code::unauthenticated) << what;
  }
  EXPECT_FALSE(gate.admit("box 5051", {}, good("msg_1", "{}"), "{}"));  // a port without a secret
  EXPECT_TRUE(gate.admit("box 5051", secrets, good("msg_1", "{}"), "{}"));
}

TEST_F(Gate, SecretsAreExchangedByHavingBothForAWhile) {
  WebhookGate gate = open();
  secrets.emplace_back(wire::new_webhook_secret());
  auto at = clock.secs();
  EXPECT_TRUE(gate.admit("p", secrets, signed_with(secrets[0], "a", at, ""), ""));
  EXPECT_TRUE(gate.admit("p", secrets, signed_with(secrets[1], "b", at, ""), ""));
  EXPECT_FALSE(
      gate.admit("p", std::span(secrets).subspan(1), signed_with(secrets[0], "c", at, ""), ""));
}

TEST_F(Gate, ARestartIsNoWayIn) {
  auto headers = good("msg_1", "{}"), failed = good("msg_2", "{}");
  {
    WebhookGate gate = open();
    ASSERT_TRUE(gate.admit("p", secrets, headers, "{}"));
    auto ticket = gate.admit("p", secrets, failed, "{}");
    ASSERT_TRUE(ticket);
    gate.refused(*ticket);
  }
  for (int restart = 0; restart < 3; ++restart)
    EXPECT_FALSE(open().admit("p", secrets, headers, "{}")) << restart;
  EXPECT_TRUE(open().admit("p", secrets, failed, "{}"));
}

TEST_F(Gate, ADeathInTheMiddleOfANoteLosesNoOther) {
  auto headers = good("msg_1", "{}");
  ASSERT_TRUE(open().admit("p", secrets, headers, "{}"));
  std::ofstream(directory + "/replay", std::ios::app) << "+half";
  EXPECT_FALSE(open().admit("p", secrets, headers, "{}"));
  std::ofstream(directory + "/replay.old") << "nonsense";  // never fatal
  EXPECT_TRUE(WebhookGate::open(directory + "/replay", clock));
}

TEST_F(Gate, NothingThatCouldComeAgainIsForgotten) {
  WebhookGate gate = open();
  // The longest road: signed as far ahead as may be, and shown again at its last moment.
  auto headers = signed_with(secrets[0], "msg_1", clock.secs() + 300, "{}");
  ASSERT_TRUE(gate.admit("p", secrets, headers, "{}"));
  for (int step = 0; step < 60; ++step) {
    clock.now_ms += 10'000;
    EXPECT_FALSE(gate.admit("p", secrets, headers, "{}")) << step;
    EXPECT_TRUE(gate.admit("p", secrets, good(str("other", step), "{}"), "{}")) << step;
  }
}

TEST_F(Gate, MemoryIsBounded) {
  auto memory = *ReplayMemory::open({.window = 10s, .most = 100}, clock);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(memory.remember(ReplayMemory::key_of(str(i))));
  auto full = memory.remember(ReplayMemory::key_of("one more"));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::exhausted);
  for (int round = 0; round < 5; ++round) {
    clock.now_ms += 10'000;
    EXPECT_TRUE(memory.remember(ReplayMemory::key_of(str("round ", round))));
    EXPECT_LE(memory.size(), 101u);
  }
  EXPECT_LE(memory.size(), 2u);
}

}  // namespace
}  // namespace glovebox::gateway

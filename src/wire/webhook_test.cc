#include "wire/webhook.h"

#include <gtest/gtest.h>

#include <vector>

namespace glovebox::wire {
namespace {

// The example of the specification.
constexpr std::string_view kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
constexpr std::string_view kId = "msg_p5jXN8AQM9LWM0D4loKWxJek";
constexpr std::int64_t kTime = 1614265330;
constexpr std::string_view kBody = R"({"test": 2432232314})";
constexpr std::string_view kSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

Result<void> check(std::string_view signature, std::string_view timestamp = "1614265330",
                   std::string_view body = kBody, std::int64_t now = kTime,
                   std::string_view id = kId) {
  std::vector<Secret> keys{*webhook_key(new_webhook_secret()), *webhook_key(kSecret)};
  return verify_webhook(keys, {id, timestamp, signature}, body, now);
}

TEST(Webhook, SignsAsTheSpecificationDoes) {
  EXPECT_EQ(sign_webhook(*webhook_key(kSecret), kId, kTime, kBody), kSignature);
}

TEST(Webhook, AnySignatureOfAnyKeyIsEnough) {
  EXPECT_TRUE(check(kSignature));
  EXPECT_TRUE(check(str("v1,AAAA v2,xyz ", kSignature)));
}

TEST(Webhook, WhatIsNotSignedIsRefused) {
  EXPECT_FALSE(check(""));
  EXPECT_FALSE(check("v1,"));
  EXPECT_FALSE(check(kSignature.substr(3)));
  EXPECT_FALSE(check(str("v2", kSignature.substr(2))));
  EXPECT_FALSE(check(kSignature, "1614265331"));
  EXPECT_FALSE(check(kSignature, "1614265330", R"({"test": 2432232315})"));
  EXPECT_FALSE(check(kSignature, "1614265330", kBody, kTime, "msg_other"));
  EXPECT_FALSE(check(kSignature, "01614265330"));
  EXPECT_FALSE(check(kSignature, "soon"));
  EXPECT_FALSE(check(kSignature, ""));
  EXPECT_FALSE(check(kSignature, "1614265330", kBody, kTime, ""));
  EXPECT_FALSE(verify_webhook({}, {kId, "1614265330", kSignature}, kBody, kTime));
}

TEST(Webhook, OldAndFutureOnesAreRefused) {
  EXPECT_TRUE(check(kSignature, "1614265330", kBody, kTime + 300));
  EXPECT_TRUE(check(kSignature, "1614265330", kBody, kTime - 300));
  EXPECT_FALSE(check(kSignature, "1614265330", kBody, kTime + 301));
  EXPECT_FALSE(check(kSignature, "1614265330", kBody, kTime - 301));
}

TEST(Webhook, SecretsOfAnotherShapeAreRefused) {
  EXPECT_TRUE(webhook_key(new_webhook_secret()));
  EXPECT_NE(new_webhook_secret(), new_webhook_secret());
  EXPECT_EQ(webhook_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=")->reveal(),
            webhook_key(kSecret)->reveal());
  for (auto text : {"", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA",
                    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!"})
    EXPECT_FALSE(webhook_key(text)) << text;
}

}  // namespace
}  // namespace glovebox::wire

#include "wire/ingress.h"

#include <gtest/gtest.h>

namespace glovebox::wire {
namespace {

TEST(Ingress, WhatIsAskedArrivesAsItWasAsked) {
  IngressAsk ask{.number = 7,
                 .what = IngressAsk::What::hold,
                 .box = "5gm9wex8dm6ko1ed441ym",
                 .generation = 3,
                 .port = 8080,
                 .token = "gb1.x.y",
                 .may_wake = false};
  auto got = decode_ingress_ask(encode(ask));
  ASSERT_TRUE(got) << got.error().what;
  EXPECT_EQ(got->number, 7u);
  EXPECT_EQ(got->what, IngressAsk::What::hold);
  EXPECT_EQ(got->box, ask.box);
  EXPECT_EQ(got->generation, 3u);
  EXPECT_EQ(got->port, 8080);
  EXPECT_EQ(got->token, ask.token);
  EXPECT_FALSE(got->may_wake);
}

TEST(Ingress, WhatIsSaidArrivesAsItWasSaid) {
  IngressSay say{.number = 9, .woke = true, .expires_ms = 12, .changed = "x", .key_hashes = {"ab"}};
  say.box = IngressBox{.id = "i", .name = "n", .generation = 2};
  say.box->ports.push_back({.port = 80, .open = true});
  say.box->ports.push_back({.port = 81, .verify = "standard-webhooks", .secrets = {Secret("s")}});
  say.error = Error{Code::gone, "it is gone", "SANDBOX_TERMINATED"};
  auto got = decode_ingress_say(encode(say));
  ASSERT_TRUE(got) << got.error().what;
  EXPECT_EQ(got->number, 9u);
  EXPECT_EQ(got->error->code, Code::gone);
  EXPECT_EQ(got->error->tag, "SANDBOX_TERMINATED");
  ASSERT_TRUE(got->box);
  EXPECT_EQ(got->box->generation, 2u);
  ASSERT_EQ(got->box->ports.size(), 2u);
  EXPECT_TRUE(got->box->port(80)->open);
  EXPECT_EQ(got->box->port(81)->verify, "standard-webhooks");
  EXPECT_TRUE(got->box->port(81)->secrets.at(0).equals("s"));
  EXPECT_EQ(got->box->port(82), nullptr);
  EXPECT_TRUE(got->woke);
  EXPECT_EQ(got->expires_ms, 12);
  EXPECT_EQ(got->changed, "x");
  EXPECT_EQ(got->key_hashes, std::vector<std::string>{"ab"});
}

TEST(Ingress, NonsenseIsRefused) {
  for (auto text : {"", "[]", "{\"what\":\"fly\"}", "{\"what\":\"dial\",\"port\":70000}",
                    "{\"what\":3}", "{\"number\":-1,\"what\":\"look\"}"})
    EXPECT_FALSE(decode_ingress_ask(text)) << text;
  for (auto text :
       {"", "7", "{\"box\":{}}", "{\"box\":{\"id\":\"x\",\"ports\":[{}]}}", "{\"number\":\"one\"}"})
    EXPECT_FALSE(decode_ingress_say(text)) << text;
}

}  // namespace
}  // namespace glovebox::wire

#include "engine/port_rules.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace glovebox::engine {
namespace {

struct Rules : testing::Test {
  Records records = std::move(Records::open(":memory:").value());
  PortRules rules{records.database()};
  wire::SandboxRecord box;

  Rules() {
    box.id = "box1box1box1box1box1b";
    box.status = wire::State::running;
    box.exposed_ports = {80};
    EXPECT_TRUE(records.insert({.record = box}));
  }
  Result<void> expose(int port, std::vector<Secret> secrets) {
    if (std::ranges::find(box.exposed_ports, port) == box.exposed_ports.end())
      box.exposed_ports.push_back(port);
    return rules.expose(records, box,
                        {.port = port, .verify = "standard-webhooks", .secrets = secrets});
  }
  std::vector<wire::IngressPort> ports() {
    return exposed_ports(records.database(), records.find(box.id).value()).value();
  }
};

TEST_F(Rules, AVerifiedPortIsExposedWithItsSecretsAndOthersStayAsTheyWere) {
  ASSERT_TRUE(expose(5051, {Secret("whsec_a"), Secret("whsec_b")}));
  auto all = ports();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].port, 80);
  EXPECT_EQ(all[0].verify, "");
  EXPECT_FALSE(all[0].open);
  EXPECT_EQ(all[1].port, 5051);
  EXPECT_EQ(all[1].verify, "standard-webhooks");
  ASSERT_EQ(all[1].secrets.size(), 2u);
  EXPECT_TRUE(all[1].secrets[1].equals("whsec_b"));
}

TEST_F(Rules, ExposedAgainTheNewSecretsCount) {
  ASSERT_TRUE(expose(5051, {Secret("whsec_a")}));
  ASSERT_TRUE(expose(5051, {Secret("whsec_b")}));
  ASSERT_EQ(ports()[1].secrets.size(), 1u);
  EXPECT_TRUE(ports()[1].secrets[0].equals("whsec_b"));
}

TEST_F(Rules, ARuleGoesWithItsPortAndDoesNotComeBackWithIt) {
  ASSERT_TRUE(expose(5051, {Secret("whsec_a")}));
  box.exposed_ports = {80};
  ASSERT_TRUE(rules.save(records, box));
  EXPECT_EQ(ports().size(), 1u);
  box.exposed_ports = {80, 5051};
  ASSERT_TRUE(rules.save(records, box));
  EXPECT_EQ(ports()[1].verify, "");
}

TEST_F(Rules, OfSandboxesThatHaveEndedNothingIsLeft) {
  ASSERT_TRUE(expose(5051, {Secret("whsec_a")}));
  ASSERT_TRUE(rules.sweep());
  EXPECT_EQ(rules.of(box.id)->size(), 1u);
  box.status = wire::State::terminated;
  ASSERT_TRUE(records.save(box));
  ASSERT_TRUE(rules.sweep());
  EXPECT_TRUE(rules.of(box.id)->empty());
}

}  // namespace
}  // namespace glovebox::engine

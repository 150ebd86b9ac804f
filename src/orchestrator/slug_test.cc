#include <gtest/gtest.h>

#include <set>

#include "orchestrator/orchestrator.h"

namespace glovebox::orchestrator {
namespace {

bool valid(std::string_view name) {  // as the engine has it
  if (name.empty() || name.size() > 63 || name.front() < 'a' || name.front() > 'z') return false;
  if (name.ends_with('-')) return false;
  for (char c : name)
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-') return false;
  return name.size() != 21 || name.contains('-');
}

TEST(BoxName, WhatFitsIsKeptAsItIs) {
  EXPECT_EQ(box_name("a"), "agent-a");
  EXPECT_EQ(box_name("session-1"), "agent-session-1");
  EXPECT_EQ(box_name(std::string(57, 'x')), "agent-" + std::string(57, 'x'));
}

TEST(BoxName, WhatLosesSomethingGetsAHash) {
  std::string name = box_name("sesn_01AbC");
  EXPECT_TRUE(name.starts_with("agent-sesn-01abc-"));
  EXPECT_EQ(name.size(), std::string("agent-sesn-01abc-").size() + 8);
  EXPECT_EQ(box_name("sesn_01AbC"), name);
}

TEST(BoxName, DifferentSessionsNeverShareOne) {
  std::set<std::string> names;
  const std::string long_id(60, 'x');
  const std::vector<std::string> ids = {
      "sesn_01AbC", "sesn_01aBC", "sesn_01abc", "sesn-01abc",  "SESN-01ABC",  "sesn 01abc",
      "sesn.01abc", "a",          "a-",         "a--",         "-a",          "",
      "-",          "--",         long_id,      long_id + "y", long_id + "z", "\xc3\xa4"};
  for (const auto& id : ids) names.insert(box_name(id));
  EXPECT_EQ(names.size(), ids.size());
}

TEST(BoxName, IsAlwaysOneTheEngineTakes) {
  for (std::string id : {"", "-", "___", "A", "sesn_01AbCdEfGhIjKlMnOpQrStUv", "a-", "\xff\xfe",
                         "0", "x y z", "../../etc"})
    EXPECT_TRUE(valid(box_name(id))) << id << " " << box_name(id);
  for (std::size_t n = 0; n < 130; ++n) {
    EXPECT_TRUE(valid(box_name(std::string(n, 'q')))) << n;
    EXPECT_TRUE(valid(box_name(std::string(n, 'Q')))) << n;
    EXPECT_TRUE(valid(box_name(std::string(n, 'q') + "-"))) << n;
    EXPECT_TRUE(valid(box_name(std::string(n, '_') + "q"))) << n;
  }
}

}  // namespace
}  // namespace glovebox::orchestrator

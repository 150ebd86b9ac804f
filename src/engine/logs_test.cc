#include "engine/logs.h"

#include <gtest/gtest.h>

namespace glovebox::engine {
namespace {

TEST(LogPositions, WhatIsGivenOutComesBack) {
  LogPositions positions{{3, {10, 20}}, {7, {0, 0}}};
  auto again = decode_positions(encode_positions(positions));
  ASSERT_TRUE(again) << again.error().what;
  ASSERT_EQ(again->size(), 2u);
  EXPECT_EQ(again->at(3).read_from, 10u);
  EXPECT_EQ(again->at(3).shown_to, 20u);
  EXPECT_TRUE(decode_positions(encode_positions({}))->empty());
}

TEST(LogPositions, WhatIsNotOursIsRefused) {
  std::string endless = "v1";
  for (int i = 0; i < 5000; ++i) endless += "-1.2.3";
  const std::vector<std::string> wrong = {
      "",           "x",         "v2",
      "v1-",        "v1-1.2",    "v1-a.b.c",
      "v1-1.2.3.4", "v1--1.2.3", "v1-99999999999999999999999.1.1",
      endless};
  for (const std::string& bad : wrong) EXPECT_FALSE(decode_positions(bad)) << bad.substr(0, 40);
}

}  // namespace
}  // namespace glovebox::engine

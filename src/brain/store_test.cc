#include "brain/store.h"

#include <gtest/gtest.h>

#include <set>

#include "brain/ids.h"

namespace glovebox::brain {

TEST(Ids, SortByTheTimeTheyWereMade) {
  std::string last;
  std::set<std::string> seen;
  for (int i = 0; i < 10'000; ++i) {
    std::string id = new_id("sevt");
    EXPECT_LT(last, id);
    EXPECT_EQ(id.size(), 5u + 24u);
    EXPECT_TRUE(id.starts_with("sevt_01"));
    EXPECT_EQ(
        id.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 5),
        id.npos);
    last = std::move(id);
  }
}

TEST(Ids, SecretsHaveTheirPrefixAndAreNeverTheSame) {
  std::string one = new_secret("gb-env"), other = new_secret("gb-env");
  EXPECT_TRUE(one.starts_with("gb-env-"));
  EXPECT_EQ(one.size(), 7u + 43u);
  EXPECT_NE(one, other);
  EXPECT_EQ(hash_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Time, IsWrittenWithMicroseconds) {
  EXPECT_EQ(rfc3339(0), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(rfc3339(1'795'168'801'000'210), "2026-11-20T10:00:01.000210Z");
  EXPECT_EQ(rfc3339(-1), "1969-12-31T23:59:59.999999Z");
}

TEST(Time, IsReadAsItIsWritten) {
  for (Micros time :
       {Micros{0}, Micros{1'795'168'801'000'210}, Micros{-1}, Micros{951'827'696'789'000}})
    EXPECT_EQ(parse_rfc3339(rfc3339(time)), time);
}

TEST(Time, OffsetsAndFractionsAreUnderstood) {
  const Micros time = 1'795'168'801'000'000;
  for (auto text : {"2026-11-20T10:00:01Z", "2026-11-20t10:00:01z", "2026-11-20 10:00:01.0Z",
                    "2026-11-20T12:30:01+02:30", "2026-11-20T12:30:01 02:30",
                    "2026-11-20T05:00:01.000000000-05:00"})
    EXPECT_EQ(parse_rfc3339(text), time) << text;
  EXPECT_EQ(parse_rfc3339("2026-11-20T10:00:01.5Z"), time + 500'000);
  EXPECT_EQ(parse_rfc3339("2026-11-20T10:00:01.1234567Z"), time + 123'456);
}

TEST(Time, WhatIsNoTimeIsRefused) {
  for (auto text : {"", "now", "2026-11-20", "2026-11-20T10:00:01", "2026-02-30T10:00:00Z",
                    "2026-13-01T10:00:00Z", "2026-11-20T24:00:00Z", "2026-11-20T10:61:00Z",
                    "2026-11-20T10:00:01.Z", "2026-11-20T10:00:01Zx", "2026-11-20T10:00:01+2:00",
                    "2026-11-20T10:00:01+02:60", "+026-11-20T10:00:01Z", "1795168801"})
    EXPECT_FALSE(parse_rfc3339(text)) << text;
}

TEST(Event, RenderAddsWhenItWasProcessed) {
  Event event{.id = "sevt_1", .type = "user.message", .json = R"({"id":"sevt_1"})"};
  EXPECT_EQ(render(event), R"({"id":"sevt_1","processed_at":null})");
  event.processed_at = 1;
  EXPECT_EQ(render(event), R"({"id":"sevt_1","processed_at":"1970-01-01T00:00:00.000001Z"})");
  event.json = "{}";
  EXPECT_EQ(render(event), R"({"processed_at":"1970-01-01T00:00:00.000001Z"})");
}

}  // namespace glovebox::brain

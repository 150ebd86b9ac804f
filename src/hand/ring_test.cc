#include "hand/ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace glovebox::hand {
namespace {

std::string rest(const Ring& ring, std::uint64_t from) {
  std::string all;
  while (from < ring.end()) {
    auto piece = ring.at(from, 1000);
    EXPECT_EQ(piece.offset, from);
    EXPECT_FALSE(piece.bytes.empty());
    all += piece.bytes;
    from += piece.bytes.size();
  }
  return all;
}

TEST(Ring, KeepsStreamsAndTimesApart) {
  RingPool pool(1 << 20);
  Ring ring(pool);
  ring.append(wire::kStdout, 1, "ab");
  ring.append(wire::kStdout, 1, "cd");
  ring.append(wire::kStderr, 1, "ef");
  ring.append(wire::kStderr, 2, "gh");
  EXPECT_EQ(ring.at(0, 100).bytes, "abcd");
  EXPECT_EQ(ring.at(1, 2).bytes, "bc");
  EXPECT_EQ(ring.at(4, 100).bytes, "ef");
  EXPECT_EQ(ring.at(4, 100).stream, wire::kStderr);
  EXPECT_EQ(ring.at(6, 100).unix_ms, 2);
}

TEST(Ring, KeepsTheLastBytes) {
  RingPool pool(1 << 20);
  Ring ring(pool);
  std::mt19937 random(7);
  std::string all;
  for (int i = 0; i < 5000; ++i) {
    std::string piece(1 + random() % 500, static_cast<char>('a' + i % 26));
    all += piece;
    ring.append(i % 3 ? wire::kStdout : wire::kStderr, i / 5, piece);
    ASSERT_EQ(ring.end(), all.size());
    ASSERT_LE(ring.end() - ring.begin(), wire::kRingBytes);
  }
  EXPECT_GE(ring.end() - ring.begin(), wire::kRingBytes / 2);
  EXPECT_EQ(rest(ring, ring.begin()), all.substr(ring.begin()));
}

TEST(Ring, HeldBytesAreNeverLost) {
  RingPool pool(1 << 20);
  Ring ring(pool);
  std::mt19937 random(11);
  std::string all;
  std::uint64_t acked = 0;
  ring.hold_from(0);
  for (int i = 0; i < 20'000; ++i) {
    std::size_t room = ring.make_room(1 + random() % 3000);
    if (room == 0) {
      ASSERT_LT(acked, ring.end()) << "stands still without a reason";
      acked += 1 + random() % (ring.end() - acked);
      ring.hold_from(acked);
      continue;
    }
    std::string piece(1 + random() % room, static_cast<char>('a' + i % 26));
    all += piece;
    ring.append(i % 2 ? wire::kStdout : wire::kStderr, i, piece);
    ASSERT_LE(ring.begin(), acked);
  }
  EXPECT_EQ(rest(ring, acked), all.substr(acked));
}

TEST(Ring, ManyTinyPiecesStayBounded) {
  RingPool pool(1 << 20);
  Ring ring(pool);
  for (int i = 0; i < 100'000; ++i) ring.append(i % 2 ? wire::kStdout : wire::kStderr, i, "x");
  EXPECT_EQ(ring.end(), 100'000u);
  EXPECT_LE(ring.end() - ring.begin(), wire::kRingBytes / 64);
  EXPECT_GE(ring.end() - ring.begin(), wire::kRingBytes / 128);
}

TEST(RingPool, EndedOnesGiveWayThenTheLargestHalves) {
  RingPool pool(wire::kRingBytes);
  std::string full(wire::kRingBytes, 'x');
  auto fill = [&](Ring& ring) {
    for (std::size_t at = 0; at < full.size(); at += wire::kMaxChunk)
      ring.append(wire::kStdout, 1, std::string_view(full).substr(at, wire::kMaxChunk));
  };
  Ring ended(pool), hog(pool), late(pool);
  fill(ended);
  ended.set_ended();
  fill(hog);
  EXPECT_EQ(ended.begin(), ended.end());
  EXPECT_EQ(hog.end() - hog.begin(), wire::kRingBytes);
  fill(late);
  EXPECT_LT(hog.end() - hog.begin(), wire::kRingBytes);
  EXPECT_GT(hog.end() - hog.begin(), wire::kRingBytes / 8);
  EXPECT_GT(late.end() - late.begin(), wire::kRingBytes / 8);
  EXPECT_LE(pool.used(), wire::kRingBytes);
}

TEST(RingPool, WhatIsHeldIsNotTaken) {
  RingPool pool(wire::kRingBytes);
  Ring held(pool), other(pool);
  held.hold_from(0);
  std::string chunk(wire::kMaxChunk, 'h');
  while (std::size_t room = held.make_room(chunk.size()))
    held.append(wire::kStdout, 1, std::string_view(chunk).substr(0, room));
  std::uint64_t end = held.end();
  for (int i = 0; i < 100; ++i) other.append(wire::kStdout, 1, chunk);
  EXPECT_EQ(held.begin(), 0u);
  EXPECT_EQ(held.end(), end);
  EXPECT_GE(other.end() - other.begin(), Ring::kLeast);
}

TEST(RingPool, WhatARingHadIsGivenBack) {
  RingPool pool(wire::kRingBytes);
  {
    Ring ring(pool);
    ring.append(wire::kStdout, 1, std::string(100'000, 'x'));
    EXPECT_GT(pool.used(), 0u);
  }
  EXPECT_EQ(pool.used(), 0u);
}

}  // namespace
}  // namespace glovebox::hand

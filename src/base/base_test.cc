#include <gtest/gtest.h>

#include "base/characters.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/random.h"
#include "base/secret.h"
#include "base/str.h"

namespace glovebox {
namespace {

Result<int> half(int n) {
  if (n % 2) return Error{Code::invalid, "odd"};
  return n / 2;
}
Result<int> quarter(int n) {
  TRY(once, half(n), "first half of ", n);
  TRY(twice, half(once), "second half of ", n);
  return twice;
}

TEST(Str, HalvesOfCharactersBecomeOneThatSaysSo) {
  EXPECT_EQ(whole_characters(R"({"a":"\ud800"})"), R"({"a":"\ufffd"})");
  EXPECT_EQ(whole_characters(R"(\udc00\ud83d\ude00\uD83D)"), R"(\ufffd\ud83d\ude00\ufffd)");
  EXPECT_EQ(whole_characters(R"(\ud83d\ud83d\ude00)"), R"(\ufffd\ud83d\ude00)");
  EXPECT_EQ(whole_characters(R"(\\ud800 \u00e9 \ud8)"), R"(\\ud800 \u00e9 \ud8)");
  EXPECT_EQ(whole_characters("\"\xff\\"), "\"\xef\xbf\xbd\\");
}

TEST(Error, ContextStandsOutermostFirst) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().what, "second half of 6: odd");
}

TEST(Str, Utf8IsRepairedByOneMarkForEachCutSequence) {
  EXPECT_EQ(valid_utf8("a\xc3\xa9z"), "a\xc3\xa9z");
  EXPECT_EQ(valid_utf8("a\xffz"), "a\xef\xbf\xbdz");
  EXPECT_EQ(valid_utf8("\xe2\x82"), "\xef\xbf\xbd");
  EXPECT_EQ(valid_utf8("\xe2\x82z"), "\xef\xbf\xbdz");
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(valid_utf8("\xf0\x9f\x98"), "\xef\xbf\xbd");
}

TEST(Str, Base64UrlHasOneTextForOneValue) {
  for (std::string bytes : {"", "a", "ab", "abc", "\xff\xfe"})
    EXPECT_EQ(unbase64url(base64url(bytes)).value(), bytes);
  EXPECT_FALSE(unbase64url("YR"));  // "YQ" is the text of "a"; bits set behind it are refused
  EXPECT_FALSE(unbase64url("Y="));
}

TEST(Str, NumbersAreTheWholeText) {
  EXPECT_EQ(parse_int<int>("17"), 17);
  for (auto text : {"", "17 ", " 17", "+17", "1e3", "99999999999"})
    EXPECT_FALSE(parse_int<int>(text)) << text;
}

TEST(Secret, ComparesWholeValues) {
  Secret secret("key");
  EXPECT_TRUE(secret.equals("key"));
  EXPECT_FALSE(secret.equals("keykey"));
  EXPECT_FALSE(secret.equals(""));
  EXPECT_FALSE(Secret().equals("x"));
}

TEST(Metrics, SeriesOfOneNameShareOneHeader) {
  metrics::Counter a("test_total", "Things.", "kind=\"a\""),
      b("test_total", "Things.", "kind=\"b\"");
  a.add(3);
  std::string text = metrics::render();
  EXPECT_NE(
      text.find("# TYPE test_total counter\ntest_total{kind=\"a\"} 3\ntest_total{kind=\"b\"} 0\n"),
      std::string::npos)
      << text;
}

TEST(Random, IdsAreOfTheirAlphabet) {
  EXPECT_EQ(random_id(21).size(), 21u);
  EXPECT_EQ(random_id(99).find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz"),
            std::string::npos);
  EXPECT_NE(random_id(21), random_id(21));
}

}  // namespace
}  // namespace glovebox

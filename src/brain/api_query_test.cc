#include "brain/api_query.h"

#include <gtest/gtest.h>

namespace glovebox::brain {

using Texts = std::vector<std::string>;

TEST(Query, ListsComeInEveryEncoding) {
  for (auto raw : {"types[]=a&types[]=b", "types%5B%5D=a&types%5b%5d=b", "types=a&types=b",
                   "types[0]=a&types[1]=b", "x=1&types[]=a&y=2&types=b"})
    EXPECT_EQ(Query(raw).list("types"), (Texts{"a", "b"})) << raw;
  EXPECT_EQ(Query("typesx=a&types[x]=b&types[=c&type=d").list("types"), (Texts{}));
}

TEST(Query, ValuesAreDecoded) {
  Query query("a=x%20y+z&b=&c&%61b=1&d==");
  EXPECT_EQ(query.text("a"), "x y z");
  EXPECT_EQ(query.text("b"), std::nullopt);
  EXPECT_EQ(query.raw("b"), "");
  EXPECT_EQ(query.raw("c"), "");
  EXPECT_EQ(query.raw("none"), std::nullopt);
  EXPECT_EQ(query.text("ab"), "1");
  EXPECT_EQ(query.text("d"), "=");
}

TEST(Query, NumbersHaveLimits) {
  Query query("n=5&big=99999999999999999999&text=x&minus=-1&part=1.5&none=");
  EXPECT_EQ(*query.integer("n", 1, 5), 5);
  EXPECT_EQ(*query.integer("none", 1, 5), std::nullopt);
  for (auto name : {"n", "big", "text", "minus", "part"}) {
    auto number = query.integer(name, 0, 4);
    ASSERT_FALSE(number) << name;
    EXPECT_TRUE(number.error().what.starts_with(str(name, ": must be a whole number")));
  }
}

TEST(Query, FlagsAreTrueOrFalse) {
  Query query("a=true&b=false&c=1&d=yes");
  EXPECT_TRUE(*query.flag("a"));
  EXPECT_FALSE(*query.flag("b"));
  EXPECT_TRUE(*query.flag("c"));
  EXPECT_FALSE(*query.flag("none"));
  EXPECT_FALSE(query.flag("d"));
}

TEST(Query, TimesAreARange) {
  auto range = Query("created_at[gte]=1970-01-01T00:00:01Z&created_at%5Blt%5D=1970-01-01T00:00:02Z")
                   .times("created_at");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->from, 1'000'000);
  EXPECT_EQ(range->to, 1'999'999);
  range = Query("created_at[gt]=1970-01-01T00:00:01Z&created_at[gte]=1970-01-01T00:00:00Z")
              .times("created_at");
  EXPECT_EQ(range->from, 1'000'001);
  EXPECT_FALSE(range->to);
  EXPECT_FALSE(Query("created_at[gt]=yesterday").times("created_at"));
}

TEST(Query, OrderIsAscOrDesc) {
  EXPECT_TRUE(*Query("order=asc").ascending(false));
  EXPECT_FALSE(*Query("order=desc").ascending(true));
  EXPECT_TRUE(*Query("").ascending(true));
  EXPECT_FALSE(Query("order=up").ascending(true));
}

TEST(Cursor, ComesBackForTheSameList) {
  for (Cursor cursor : {Cursor{1, false}, Cursor{9'000'000'000, true}}) {
    auto back = decode_cursor(encode_cursor(cursor, "events asc"), "events asc");
    ASSERT_TRUE(back);
    EXPECT_EQ(back->number, cursor.number);
    EXPECT_EQ(back->backward, cursor.backward);
  }
}

TEST(Cursor, IsGoodForNoOtherList) {
  EXPECT_FALSE(decode_cursor(encode_cursor({5}, "events asc"), "events desc"));
}

TEST(Cursor, NonsenseIsRefused) {
  const std::string good = encode_cursor({5}, "x");
  for (std::string text :
       {std::string("nonsense"), std::string("\0", 1), good + "A", good.substr(1), base64url("f5"),
        base64url("x5.12345678"), base64url("f-5." + std::string(8, '0')), base64url("f."),
        base64url("f"), std::string(5000, 'A')}) {
    auto cursor = decode_cursor(text, "x");
    ASSERT_FALSE(cursor) << text;
    EXPECT_EQ(cursor.error().code, Code::invalid);
  }
}

TEST(Page, HasItsLimits) {
  EXPECT_EQ(page_of(Query(""), "x")->limit, 20);
  EXPECT_EQ(page_of(Query("limit=1000"), "x")->limit, 1000);
  EXPECT_FALSE(page_of(Query("limit=0"), "x"));
  EXPECT_FALSE(page_of(Query("limit=1001"), "x"));
  EXPECT_EQ(page_of(Query("page=" + encode_cursor({7}, "x")), "x")->cursor.number, 7);
}

}  // namespace glovebox::brain

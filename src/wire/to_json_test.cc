#include "wire/to_json.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <limits>

namespace glovebox::wire {
namespace {

namespace json = boost::json;

TEST(ToJson, NumbersAreWrittenAsPeopleWriteThem) {
  EXPECT_EQ(to_json(json::array{1, 1.0, 0.5, -0.25, 1536.5, 1e15, 1e300, 1e-7}),
            "[1,1.0,0.5,-0.25,1536.5,1e+15,1e+300,1e-07]");
  EXPECT_EQ(to_json(json::array{std::numeric_limits<double>::infinity(),
                                std::numeric_limits<double>::quiet_NaN()}),
            "[null,null]");
}

TEST(ToJson, AllElseIsAsTheLibraryWritesIt) {
  json::value value = json::parse(
      R"({"a":[],"b":{},"":null,"t":true,"\"k\n":"x\u0000\"\\\u00e4","n":[18446744073709551615,-1,[[]]]})");
  EXPECT_EQ(to_json(value), json::serialize(value));
}

TEST(ToJson, WhatIsReadAgainIsTheSame) {
  for (double number : {0.1, 1.0, -0.0, 1.0 / 3, 1e22, 5e-324, 1.7976931348623157e308}) {
    json::value again = json::parse(to_json(json::value(number)));
    ASSERT_TRUE(again.is_double()) << number;
    EXPECT_EQ(again.get_double(), number);
  }
}

}  // namespace
}  // namespace glovebox::wire

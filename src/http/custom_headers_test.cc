#include "http/custom_headers.h"

#include <gtest/gtest.h>

namespace glovebox::http {
namespace {

TEST(CustomHeaders, AreLinesOfNameAndValue) {
  auto headers = parse_custom_headers("X-Team: a:b \nno colon\n\nUser-Agent:mine\r\nX-Team: last");
  ASSERT_TRUE(headers) << headers.error().what;
  EXPECT_EQ(headers->get("x-team"), "last");
  EXPECT_EQ(headers->get("user-agent"), "mine");
  EXPECT_EQ(headers->all().size(), 2u);
}

TEST(CustomHeaders, ComeBackFromTheirLines) {
  for (std::string lines : {"", "A: b", "A: b\nC: d: e"})
    EXPECT_EQ(custom_header_lines(*parse_custom_headers(lines)), lines);
}

TEST(CustomHeaders, ThatCannotBeSentAreRefusedAndNotShown) {
  for (const char* wrong : {"Content-Length: 7", "host: elsewhere", "a b: secret", ": secret",
                            "X: sec\x01ret", "Transfer-Encoding: chunked"}) {
    auto headers = parse_custom_headers(wrong);
    ASSERT_FALSE(headers) << wrong;
    EXPECT_EQ(headers.error().code, Code::invalid);
    EXPECT_FALSE(headers.error().what.contains("secret"));
  }
}

}  // namespace
}  // namespace glovebox::http

#include "engine/dockerfile.h"

#include <gmock/gmock.h>

namespace glovebox::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

TEST(Dockerfile, JoinsLinesAndLeavesCommentsOut) {
  std::vector<std::string> ignored;
  auto parsed = parse_dockerfile(
      "# syntax=docker/dockerfile:1\nARG V=1\nfrom base AS b\nRUN one \\\n# between\n\n  two\r\n"
      "EXPOSE 80\nCMD [\"a\", \"b c\"]\n",
      &ignored);
  ASSERT_TRUE(parsed) << parsed.error().what;
  ASSERT_EQ(parsed->size(), 4u);
  EXPECT_EQ((*parsed)[1].name, "FROM");
  EXPECT_EQ((*parsed)[2].text, "one   two");
  EXPECT_EQ((*parsed)[2].line, 4);
  EXPECT_THAT(*(*parsed)[3].list, ElementsAre("a", "b c"));
  EXPECT_THAT(ignored, ElementsAre("EXPOSE"));
}

TEST(Dockerfile, TakesFlagsOff) {
  auto parsed = parse_dockerfile("FROM a\nCOPY --from=b --chown=app:app x y\n", nullptr);
  ASSERT_TRUE(parsed);
  EXPECT_EQ((*parsed)[1].flags["from"], "b");
  EXPECT_EQ((*parsed)[1].text, "x y");
}

TEST(Dockerfile, SaysWhichLineIsWrong) {
  for (auto text : {"FROM a\n\nBOOM x\n", "FROM a\n\nRUN\n", "FROM a\n\nSHELL [\"x\"]\n"}) {
    auto parsed = parse_dockerfile(text, nullptr);
    ASSERT_FALSE(parsed) << text;
    EXPECT_THAT(parsed.error().what, HasSubstr("line 3")) << text;
  }
  EXPECT_FALSE(parse_dockerfile("RUN x\nFROM a\n", nullptr));
  EXPECT_FALSE(parse_dockerfile("", nullptr));
}

TEST(Dockerfile, ASquareBracketOfTheShellIsNoList) {
  auto parsed = parse_dockerfile("FROM a\nRUN [ -d /x ] && echo yes\n", nullptr);
  ASSERT_TRUE(parsed);
  EXPECT_FALSE((*parsed)[1].list);
}

TEST(Dockerfile, PutsVariablesIn) {
  Variables given{{"A", "1"}, {"E", ""}};
  EXPECT_EQ(*expand("$A-${A}-$B-\\$A-${B:-x$A}-${A:+y}-${E:-d}-${E-d}.", given),
            "1-1--$A-x1-y-d-.");
  EXPECT_FALSE(expand("${A", given));
  EXPECT_FALSE(expand("${B:?missing}", given));
}

TEST(Dockerfile, WhatGrowsWithoutEndIsRefused) {
  auto nested = [](int depth) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += "${A:-";
    return text + "x" + std::string(static_cast<std::size_t>(depth), '}');
  };
  EXPECT_EQ(*expand(nested(16), {}), "x");
  for (auto text : {nested(17), nested(100'000)}) {
    auto refused = expand(text, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().tag, "DOCKERFILE");
  }
  Variables given{{"A", std::string(40'000, 'x')}};
  EXPECT_TRUE(words("$A $A", given));
  std::string many;
  for (int i = 0; i < 100; ++i) many += "$A ";
  EXPECT_FALSE(expand("$A$A", given));
  EXPECT_FALSE(words("$A$A", given));
  EXPECT_FALSE(words(many, given));
  EXPECT_FALSE(assignments("B=$A$A", given));
  EXPECT_FALSE(assignments("B $A$A", given));
}

TEST(Dockerfile, SplitsWordsAsAShellDoes) {
  Variables given{{"A", "1 2"}};
  EXPECT_THAT(*words("a \"b $A\" 'c $A' d\\ e", given), ElementsAre("a", "b 1 2", "c $A", "d e"));
  EXPECT_FALSE(words("\"open", given));
}

TEST(Dockerfile, KnowsBothFormsOfAssignment) {
  EXPECT_THAT(*assignments("A=1 B=\"x y\" C=a=b", {}),
              ElementsAre(Pair("A", "1"), Pair("B", "x y"), Pair("C", "a=b")));
  EXPECT_THAT(*assignments("A some words here", {}), ElementsAre(Pair("A", "some words here")));
  EXPECT_FALSE(assignments("A=1 B", {}));
}

}  // namespace
}  // namespace glovebox::engine

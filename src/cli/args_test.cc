#include "cli/args.h"

#include <gtest/gtest.h>

namespace glovebox::cli {
namespace {

constexpr std::string_view kUsage =
    "x NAME [--user=USER] [--env=K=V]... [--all] [-t] -- COMMAND...";

Args parsed(std::vector<std::string> words) {
  auto args = Args::parse(kUsage, words);
  EXPECT_TRUE(args) << args.error().what;
  return args ? std::move(*args) : Args();
}

std::string refusal(std::vector<std::string> words) {
  auto args = Args::parse(kUsage, words);
  if (args) return "";
  EXPECT_TRUE(is_usage_error(args.error()));
  return args.error().what;
}

TEST(Args, ValuesStandBehindASpaceOrAnEqualsSign) {
  EXPECT_EQ(parsed({"--user", "root", "box"}).option("--user"), "root");
  EXPECT_EQ(parsed({"--user=a=b", "box"}).option("--user"), "a=b");
}

TEST(Args, PositionalsAreFoundAroundOptions) {
  Args args = parsed({"--user", "root", "box", "--all"});
  EXPECT_EQ(*args.positional("NAME"), "box");
  EXPECT_TRUE(args.done());
}

TEST(Args, WordsBehindTheDashesAreNotLookedAt) {
  Args args = parsed({"box", "--", "ls", "--all", "--", "-x"});
  EXPECT_FALSE(args.flag("--all"));
  EXPECT_EQ(args.rest(), (std::vector<std::string>{"ls", "--all", "--", "-x"}));
}

TEST(Args, ASingleDashIsAPositional) { EXPECT_EQ(*parsed({"-"}).positional("FILE"), "-"); }

TEST(Args, UnknownOptionIsRefusedWithTheNearest) {
  EXPECT_EQ(refusal({"--usr=x"}), "there is no option --usr; did you mean '--user'?");
}

TEST(Args, OptionsAreRefusedWhenRepeatedUnlessTheUsageAllowsIt) {
  EXPECT_NE(refusal({"--all", "--all"}), "");
  EXPECT_EQ(parsed({"--env=A=1", "--env", "B=2"}).options("--env"),
            (std::vector<std::string>{"A=1", "B=2"}));
}

TEST(Args, MissingAndUnwantedValuesAreRefused) {
  EXPECT_EQ(refusal({"--user"}), "--user needs a value");
  EXPECT_EQ(refusal({"--user", "--", "x"}), "--user needs a value");
  EXPECT_EQ(refusal({"--all=yes"}), "--all takes no value");
}

TEST(Args, MissingAndLeftOverPositionalsAreUsageErrors) {
  Args args = parsed({"a", "b"});
  EXPECT_EQ(*args.positional("NAME"), "a");
  ASSERT_FALSE(args.done());
  EXPECT_TRUE(is_usage_error(args.done().error()));
  (void)args.remaining();
  EXPECT_TRUE(args.done());
  EXPECT_TRUE(is_usage_error(args.positional("NAME").error()));
}

TEST(Args, DurationsHaveUnits) {
  EXPECT_EQ(*parse_duration("250ms"), 250ms);
  EXPECT_EQ(*parse_duration("90"), 90s);
  EXPECT_EQ(*parse_duration("1.5h"), 90min);
  for (auto wrong : {"", "ten", "10 s", "-1s", "1w", "inf", "1e300d"})
    EXPECT_FALSE(parse_duration(wrong)) << wrong;
}

TEST(Args, NumbersHaveARange) {
  auto number = [](std::vector<std::string> words) {
    return Args::parse("x [--limit=N]", words)->number("--limit", 1, 10, 7);
  };
  EXPECT_EQ(*number({}), 7);
  EXPECT_EQ(*number({"--limit=10"}), 10);
  for (auto wrong : {"--limit=0", "--limit=11", "--limit=x", "--limit="})
    EXPECT_TRUE(is_usage_error(number({wrong}).error())) << wrong;
}

TEST(Args, SizesAreMebibytes) {
  EXPECT_EQ(*parse_mebibytes("512M"), 512);
  EXPECT_EQ(*parse_mebibytes("2GiB"), 2048);
  EXPECT_EQ(*parse_mebibytes("1.5g"), 1536);
  for (auto wrong : {"", "G", "12x", "nan", "-1M"}) EXPECT_FALSE(parse_mebibytes(wrong)) << wrong;
}

}  // namespace
}  // namespace glovebox::cli

#include "cli/output.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace glovebox::cli {
namespace {

struct Captured {
  std::string out, err;
  Output output(Output::Format format) {
    return Output(
        format, [this](std::string_view text) { return out += text, ok; },
        [this](std::string_view text) { return err += text, ok; });
  }
};

TEST(Output, ObjectIsLinesForPeopleAndOneDocumentForPrograms) {
  Captured text, json;
  boost::json::object object{
      {"id", "sb_1"}, {"cpus", 0.5}, {"name", nullptr}, {"entrypoint", {"sh", "-c"}}};
  text.output(Output::Format::text).object(object);
  json.output(Output::Format::json).object(object);
  EXPECT_EQ(text.out, "id          sb_1\ncpus        0.5\nentrypoint  sh -c\n");
  EXPECT_EQ(json.out,
            "{\"id\":\"sb_1\",\"cpus\":0.5,\"name\":null,\"entrypoint\":[\"sh\",\"-c\"]}\n");
}

TEST(Output, RecordsInARecordAreLinesOfTheirOwnForPeopleAndTimesAreDates) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  Captured text;
  text.output(Output::Format::text)
      .object({{"resources", {{"cpus", 1.0}, {"name", nullptr}, {"disk_mb", 1024}}},
               {"created_at", 1795279556686},
               {"deep", {{"a", {{"b", "c d"}}}, {"none", boost::json::array{}}}},
               {"nothing", boost::json::object{}},
               {"listed", {{{"id", "a"}}, {{"id", "b"}}}}});
  EXPECT_EQ(text.out,
            "resources   cpus=1 disk_mb=1024\n"
            "created_at  2026-11-21 16:45:56 UTC\n"
            "deep.a.b    c d\n"
            "listed      id=a\n"
            "            id=b\n");
}

TEST(Output, ListIsATableWithoutTrailingBlanks) {
  Captured text;
  auto cell = [](const boost::json::object& item) { return std::string(item.at("n").as_string()); };
  text.output(Output::Format::text)
      .list({{{"n", "long name"}}, {{"n", "é"}}}, {{"NAME", cell}, {"AGAIN", cell}});
  EXPECT_EQ(text.out, "NAME       AGAIN\nlong name  long name\né          é\n");
}

TEST(Output, TextFromElsewhereCannotSteerATerminal) {
  Captured text;
  text.output(Output::Format::text).object({{"name", "a\x1b[2Jb\nc\xc2\x9b"}});
  EXPECT_EQ(text.out, "name  a\\x1b[2Jb\\x0ac\\x9b\n");
}

TEST(Output, AFullDiskIsRemembered) {
  Output output(
      Output::Format::text,
      [](std::string_view) -> Result<void> { return Error{Code::exhausted, "full"}; },
      [](std::string_view) { return ok; });
  output.text("x");
  EXPECT_FALSE(output.written());
}

TEST(Output, NumbersForPeople) {
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1ull << 30), "1 GiB");
  EXPECT_EQ(human_bytes(200ull << 20), "200 MiB");
  EXPECT_EQ(human_age(90'000), "90s");
  EXPECT_EQ(human_age(3 * 3600'000), "3h");
  EXPECT_EQ(human_age(-5), "0s");
}

}  // namespace
}  // namespace glovebox::cli

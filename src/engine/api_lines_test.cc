#include "engine/api_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glovebox::engine {
namespace {

using testing::ElementsAre;

// Cuts the pieces, all of stdout unless they begin with "2:".
std::vector<Line> cut(const std::vector<std::string>& pieces) {
  LineCutter cutter;
  std::vector<Line> lines;
  std::int64_t now = 0;
  for (std::string piece : pieces) {
    bool is_err = piece.starts_with("2:");
    if (is_err) piece.erase(0, 2);
    cutter.add(OutputEvent{0, is_err ? wire::kStderr : wire::kStdout, ++now, piece}, lines);
  }
  cutter.end(lines);
  return lines;
}
std::vector<std::string> texts(const std::vector<Line>& lines) {
  std::vector<std::string> out;
  for (const Line& line : lines) out.push_back(line.text);
  return out;
}

TEST(LineCutter, LinesArePutTogetherFromPieces) {
  EXPECT_THAT(texts(cut({"a", "b\nc", "", "\n\n", "d"})), ElementsAre("ab", "c", "", "d"));
  EXPECT_THAT(texts(cut({"a\n"})), ElementsAre("a"));
  EXPECT_THAT(texts(cut({""})), ElementsAre());
}

TEST(LineCutter, WhoResumesGetsEveryLineThatWasNotCut) {
  LineCutter cutter;
  std::vector<Line> lines;
  cutter.add(OutputEvent{10, wire::kStdout, 1, "a\nou"}, lines);  // 10..14
  cutter.add(OutputEvent{14, wire::kStderr, 2, "err\n"}, lines);  // 14..18
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].end, 12u);
  EXPECT_EQ(lines[1].end, 18u);
  EXPECT_EQ(cutter.resume_at(), 12u);  // where the line begins that is not whole yet
  cutter.add(OutputEvent{18, wire::kStdout, 3, "t\n"}, lines);
  EXPECT_EQ(lines[2].begin, 12u);
  EXPECT_EQ(lines[2].end, 20u);
  EXPECT_EQ(lines[2].whole_ms, 3);
  EXPECT_EQ(cutter.resume_at(), 20u);
}

TEST(LineCutter, TheTwoStreamsDoNotMix) {
  auto lines = cut({"ou", "2:er", "t\n", "2:r\n"});
  EXPECT_THAT(texts(lines), ElementsAre("out", "err"));
  EXPECT_EQ(lines[0].stream, wire::kStdout);
  EXPECT_EQ(lines[1].stream, wire::kStderr);
  EXPECT_EQ(lines[0].unix_ms, 1);  // when it began
  EXPECT_EQ(lines[1].unix_ms, 2);
}

TEST(LineCutter, CharactersCutBetweenPiecesAreWhole) {
  EXPECT_THAT(texts(cut({"\xe2", "\x82", "\xac\n"})), ElementsAre("€"));
}

TEST(LineCutter, WhatIsNoTextBecomesText) {
  EXPECT_THAT(texts(cut({"a\xff\n", "\xe2\x82"})), ElementsAre("a\xef\xbf\xbd", "\xef\xbf\xbd"));
}

TEST(LineCutter, ALineOverTheLimitComesInParts) {
  const std::string long_line(2 * LineCutter::kMaxLine + 10, 'x');
  auto lines = cut({long_line.substr(0, 100), long_line.substr(100) + "\nnext\n"});
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].text.size(), LineCutter::kMaxLine);
  EXPECT_EQ(lines[1].text.size(), LineCutter::kMaxLine);
  EXPECT_EQ(lines[2].text.size(), 10u);
  EXPECT_EQ(lines[3].text, "next");
  EXPECT_TRUE(lines[0].goes_on && lines[1].goes_on);
  EXPECT_FALSE(lines[2].goes_on || lines[3].goes_on);
}

TEST(LineCutter, APartEndsWithAWholeCharacter) {
  std::string line(LineCutter::kMaxLine - 1, 'x');
  auto lines = cut({line + "€uro\n"});
  EXPECT_THAT(texts(lines), ElementsAre(line, "€uro"));
  // Bytes that are no text are cut anywhere, and cutting ends.
  std::string noise(LineCutter::kMaxLine + 5, '\x80');
  EXPECT_EQ(cut({noise}).size(), 2u);
}

TEST(LineCutter, AGapEndsTheLinesAndSaysHowMuchIsMissing) {
  LineCutter cutter;
  std::vector<Line> lines;
  cutter.add(OutputEvent{0, wire::kStdout, 5, "half"}, lines);
  cutter.add(GapEvent{4, 104}, lines);
  cutter.add(OutputEvent{104, wire::kStdout, 6, "rest\n"}, lines);
  EXPECT_THAT(texts(lines), ElementsAre("half", "[… 100 bytes of output are missing …]", "rest"));
  EXPECT_EQ(lines[1].gap, 100u);
  EXPECT_EQ(lines[1].unix_ms, 5);
}

Line part(std::string text, std::uint8_t stream, bool goes_on) {
  return {.text = std::move(text), .unix_ms = 7, .stream = stream, .goes_on = goes_on};
}

TEST(LineEvents, ALineIsAnEvent) {
  LineEvents run({.with_stream = true}), stdout_only({.event = "output", .only = wire::kStdout});
  EXPECT_EQ(run.encode({part("a\"\t", wire::kStderr, false)}),
            "data: {\"timestamp\":7,\"stream\":\"stderr\",\"line\":\"a\\\"\\t\"}\n\n");
  EXPECT_EQ(stdout_only.encode({part("e", wire::kStderr, false), part("a", wire::kStdout, false)}),
            "event: output\ndata: {\"timestamp\":7,\"line\":\"a\"}\n\n");
  EXPECT_EQ(stdout_only.encode({Line{.text = "gone", .unix_ms = 7, .gap = 12}}),
            "event: output\ndata: {\"timestamp\":7,\"gap\":12,\"line\":\"gone\"}\n\n");
  EXPECT_EQ(run.encode({part(std::string("\0\r\n", 3), wire::kStdout, false)}).find("\r"),
            std::string::npos);
}

TEST(LineEvents, ALineInPartsIsOneEventAndOthersWaitForItsEnd) {
  LineEvents events({.with_stream = true});
  EXPECT_EQ(events.encode({part("a", wire::kStdout, true)}),
            "data: {\"timestamp\":7,\"stream\":\"stdout\",\"line\":\"a");
  EXPECT_TRUE(events.in_event());
  EXPECT_EQ(events.encode({part("err", wire::kStderr, false), part("b", wire::kStdout, true)}),
            "b");
  EXPECT_EQ(events.encode({part("c", wire::kStdout, false), part("d", wire::kStdout, false)}),
            "c\"}\n\n"
            "data: {\"timestamp\":7,\"stream\":\"stderr\",\"line\":\"err\"}\n\n"
            "data: {\"timestamp\":7,\"stream\":\"stdout\",\"line\":\"d\"}\n\n");
  EXPECT_FALSE(events.in_event());
}

TEST(LineEvents, WhatWaitsIsBounded) {
  LineEvents events({.with_stream = true});
  (void)events.encode({part("long", wire::kStdout, true)});
  const std::string much(LineCutter::kMaxLine + 1, 'e');
  const std::string said = events.encode({part(much, wire::kStderr, true)});
  EXPECT_TRUE(said.starts_with("\"}\n\ndata: {\"timestamp\":7,\"stream\":\"stderr\",\"line\":\"e"));
  EXPECT_TRUE(events.in_event());  // now the other one's
  EXPECT_EQ(events.encode({part("", wire::kStderr, false)}), "\"}\n\n");
  EXPECT_EQ(events.encode({part("rest", wire::kStdout, false)}),
            "data: {\"timestamp\":7,\"stream\":\"stdout\",\"line\":\"rest\"}\n\n");
}

TEST(LineEvents, LinesWithoutTextAreBoundedAsWell) {
  LineEvents events({.with_stream = true});
  (void)events.encode({part("long", wire::kStdout, true)});
  std::size_t waiting = 0;
  std::string said;
  for (; said.empty() && waiting * sizeof(Line) <= LineCutter::kMaxLine; ++waiting)
    said = events.encode({part("", wire::kStderr, false)});
  EXPECT_TRUE(
      said.starts_with("\"}\n\ndata: {\"timestamp\":7,\"stream\":\"stderr\",\"line\":\"\"}\n\n"));
  EXPECT_FALSE(events.in_event());
  // And what waits is counted anew from there.
  EXPECT_EQ(events.encode({part("rest", wire::kStdout, true), part("", wire::kStderr, false)}),
            "data: {\"timestamp\":7,\"stream\":\"stdout\",\"line\":\"rest");
}

TEST(EncodeExit, TellsCodeOrSignal) {
  wire::ProcessInfo info;
  info.status = wire::Status::exited;
  info.exit_code = 3;
  EXPECT_EQ(encode_exit(info), R"({"exit_code":3})");
  info.status = wire::Status::signaled;
  info.signal = 9;
  info.timed_out = true;
  EXPECT_EQ(encode_exit(info), R"({"signal":9,"timed_out":true})");
  info.timed_out = false;
  info.status = wire::Status::oom_killed;
  EXPECT_EQ(encode_exit(info), R"({"signal":9,"oom_killed":true})");
}

}  // namespace
}  // namespace glovebox::engine

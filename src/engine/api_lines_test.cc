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

TEST(EncodeLine, IsOneLineOfJson) {
  EXPECT_EQ(encode_line({"a\"\t", 7, wire::kStderr}, true),
            R"({"line":"a\"\t","timestamp":7,"stream":"stderr"})");
  EXPECT_EQ(encode_line({"a", 7, wire::kStdout}, false), R"({"line":"a","timestamp":7})");
  EXPECT_EQ(encode_line({"gone", 7, 0, 12}, true), R"({"line":"gone","timestamp":7,"gap":12})");
  EXPECT_EQ(encode_line({std::string("\0\r\n", 3), 7, wire::kStdout}, false).find_first_of("\r\n"),
            std::string::npos);
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

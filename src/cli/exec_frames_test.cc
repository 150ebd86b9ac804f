#include "cli/exec_frames.h"

#include <gtest/gtest.h>

namespace glovebox::cli {
namespace {

TEST(ExecFrames, NumbersAreBigEndian) {
  EXPECT_EQ(resize_frame(0x0150, 24), std::string("\x01\x01\x50\x00\x18", 5));
  EXPECT_EQ(signal_frame(15), std::string("\x05\x0f"));
  EXPECT_EQ(stdin_frame("hi"), std::string("\0hi", 3));
}

TEST(ExecFrames, EventsAreDecoded) {
  EXPECT_EQ(std::get<StdoutBytes>(*decode_exec_event(std::string("\0a\0b", 4))).bytes,
            std::string("a\0b", 3));
  EXPECT_EQ(std::get<StderrBytes>(*decode_exec_event("\x01oops")).bytes, "oops");
  EXPECT_EQ(std::get<Started>(*decode_exec_event(std::string("\x02\0\0\x01\x02", 5))).pid, 0x102u);
  auto gap = std::get<Gap>(
      *decode_exec_event(std::string("\x06\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01\0", 17)));
  EXPECT_EQ(gap.from, 1u);
  EXPECT_EQ(gap.to, 256u);
}

TEST(ExecFrames, ExitIsTheShellsWay) {
  EXPECT_EQ(std::get<Exited>(*decode_exec_event("\x03{\"exit_code\":7}")).shell_code(), 7);
  auto killed = std::get<Exited>(*decode_exec_event("\x03{\"signal\":9,\"oom_killed\":true}"));
  EXPECT_EQ(killed.shell_code(), 137);
  EXPECT_TRUE(killed.oom_killed);
  EXPECT_FALSE(killed.timed_out);
}

TEST(ExecFrames, WhatIsNotOfTheProtocolIsAnError) {
  for (std::string wrong :
       {std::string(), std::string("\x02\0\0\x01", 4), std::string("\x03{}"),
        std::string("\x03[1]"), std::string("\x03"), std::string("\x06 1"), std::string("\x09x")})
    EXPECT_FALSE(decode_exec_event(wrong)) << wrong.size();
}

}  // namespace
}  // namespace glovebox::cli

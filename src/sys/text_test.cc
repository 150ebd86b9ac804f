#include "sys/text.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace glovebox::sys {
namespace {

// Of files, in memory: in KB.
long of_files() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssFile:")) return std::stol(line.substr(8));
  return 0;
}

int g_written = 5;
const std::string g_constant = "of the start";

TEST(Text, IsLetGoOfAndComesBack) {
  const long before = of_files();
  g_written = 6;
  let_go_of_text();
  const long after = of_files();
  EXPECT_LT(after, before);
  EXPECT_EQ(g_written, 6);
  EXPECT_EQ(g_constant, "of the start");
  EXPECT_THROW(throw std::string("through frames"), std::string);
}

}  // namespace
}  // namespace glovebox::sys

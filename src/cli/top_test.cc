#include "cli/top.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/str.h"

namespace glovebox::cli {
namespace {

boost::json::array sandboxes(std::int64_t busy_cpu_ms) {
  return boost::json::parse(str(R"([
    {"id":"a","name":"idle","status":"running","tier":"paused","cpu_ms":100,"memory_bytes":1048576,
     "memory_limit_bytes":1073741824,"pids":1,"in_use":false,"last_activity_at":1000},
    {"id":"b","status":"running","tier":"active","cpu_ms":)",
                                busy_cpu_ms, R"(,"memory_bytes":0,
     "memory_limit_bytes":1073741824,"disk_bytes":2097152,"pids":2,"in_use":true,"last_activity_at":1000}])"))
      .as_array();
}

TEST(Top, TheShareOfTheProcessorIsWhatWasUsedSinceTheLastLook) {
  CpuSamples samples;
  EXPECT_EQ(top_table(sandboxes(0), samples, 1000, 50, 200).find('%'), std::string::npos);
  std::string table = top_table(sandboxes(500), samples, 2000, 50, 200);
  EXPECT_NE(table.find("50%"), std::string::npos) << table;
  EXPECT_NE(table.find("2 sandboxes, 1 in use"), std::string::npos);
  // Who works most stands first.
  EXPECT_LT(table.find("\nb"), table.find("\nidle"));
  EXPECT_NE(table.find("2 MiB"), std::string::npos) << table;
}

TEST(Top, ItFitsTheScreen) {
  CpuSamples samples;
  boost::json::array many;
  for (int i = 0; i < 100; ++i) many.push_back(boost::json::object{{"id", str("box", i)}});
  std::string table = top_table(many, samples, 1000, 24, 40);
  EXPECT_LE(std::count(table.begin(), table.end(), '\n'), 24);
  EXPECT_NE(table.find("more"), std::string::npos);
}

TEST(Top, ANameDoesNotSteerTheTerminal) {
  CpuSamples samples;
  boost::json::array one{boost::json::object{{"id", "a"}, {"name", "\x1b[2Jx"}}};
  EXPECT_EQ(top_table(one, samples, 1000, 24, 100).find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace glovebox::cli

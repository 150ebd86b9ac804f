#include "engine/life.h"

#include <gtest/gtest.h>

#include "engine/core.h"

namespace glovebox::engine {
namespace {

TEST(LastUse, OfOneThatSleepsIsNotWhenTheEngineStarted) {
  constexpr std::int64_t kDay = 24 * 3600 * 1000;
  const std::int64_t started = system_clock().unix_ms();
  Box box;
  box.record.status = wire::State::suspended;
  box.record.last_activity_at = started - 7 * kDay;
  recover_last_use(box);
  EXPECT_LT(last_activity_ms(box), started - 6 * kDay);
  box.life.uses = 1;
  EXPECT_GE(last_activity_ms(box), started);
}

TEST(LastUse, OfOneThatRunsIsNotTheTimeBeforeItLastSlept) {
  const std::int64_t started = system_clock().unix_ms();
  Box box;
  box.record.status = wire::State::running;
  box.record.last_activity_at = 1;
  recover_last_use(box);
  EXPECT_GE(last_activity_ms(box), started - 1000);
}

}  // namespace
}  // namespace glovebox::engine

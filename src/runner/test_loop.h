// For tests: a loop with a FakeService on it. Each test is a coroutine, which ends with everything
// put away.
#pragma once

#include "runner/fake_service.h"

namespace glovebox::runner {

class ServiceTest : public ::testing::Test {
 protected:
  net::Loop loop;
  FakeService fake{loop};

  void run(Task<void> test) {
    auto ran = net::run(loop, then_close(std::move(test)));
    EXPECT_TRUE(ran) << ran.error().what;
  }

 private:
  Task<void> then_close(Task<void> test) {
    auto tested = co_await std::move(test);
    CO_TRY_DO(co_await fake.close(), "close the service");
    co_return tested;
  }
};

}  // namespace glovebox::runner

#include "brain/group_sync.h"

#include <gtest/gtest.h>

#include <atomic>

#include "net/task.h"

namespace glovebox::brain {
namespace {

Task<void> wait(GroupSync& sync, int& ended) {
  auto done = co_await sync.wait();
  ended += done.has_value();
  co_return done;
}

Task<void> wait_all(net::Loop& loop, GroupSync& sync, int waiters, int& ended) {
  net::TaskGroup tasks(loop);
  for (int i = 0; i < waiters; ++i) tasks.spawn("waiter", wait(sync, ended));
  while (tasks.size() > 0) CO_TRY_DO(co_await net::sleep(1ms));
  co_return ok;
}

}  // namespace

TEST(GroupSync, ThoseWhoWaitTogetherShareOne) {
  net::Loop loop;
  std::atomic<int> syncs = 0;
  GroupSync sync(loop, [&]() -> Result<void> {
    ++syncs;
    return ok;
  });
  int ended = 0;
  ASSERT_TRUE(net::run(loop, wait_all(loop, sync, 100, ended)));
  EXPECT_EQ(ended, 100);
  // The first starts one; all that came while it ran are served by the next.
  EXPECT_LE(syncs, 3);
  EXPECT_GE(syncs, 1);
}

TEST(GroupSync, OneThatComesWhileItRunsWaitsForTheNext) {
  net::Loop loop;
  std::atomic<int> syncs = 0;
  GroupSync sync(loop, [&]() -> Result<void> {
    ++syncs;
    return ok;
  });
  int ended = 0;
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(net::run(loop, wait_all(loop, sync, 1, ended)));
    EXPECT_EQ(syncs, i);  // nobody is told of a sync that began before he asked
  }
}

TEST(GroupSync, FailureIsToldToAll) {
  net::Loop loop;
  GroupSync sync(loop, []() -> Result<void> { return Error{Code::internal, "no disk"}; });
  int ended = 0;
  ASSERT_TRUE(net::run(loop, wait_all(loop, sync, 5, ended)));
  EXPECT_EQ(ended, 0);
}

}  // namespace glovebox::brain

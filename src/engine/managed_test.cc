#include "engine/managed.h"

#include <gtest/gtest.h>

namespace glovebox::engine {
namespace {

wire::ProcessInfo exited(int code) {
  wire::ProcessInfo info;
  info.status = wire::Status::exited;
  info.exit_code = code;
  return info;
}
wire::ProcessInfo killed(wire::Status how = wire::Status::signaled) {
  wire::ProcessInfo info;
  info.status = how;
  info.signal = 9;
  return info;
}
wire::Restart policy(wire::RestartPolicy policy) {
  wire::Restart restart;
  restart.policy = policy;
  return restart;
}

TEST(ManagedPolicy, NeverIsNever) {
  auto never = policy(wire::RestartPolicy::never);
  EXPECT_FALSE(restarts_after(never, exited(1), false, 0));
  EXPECT_FALSE(restarts_after(never, killed(), true, 0));
}

TEST(ManagedPolicy, OnFailureIsAnyEndButAGoodOne) {
  auto on_failure = policy(wire::RestartPolicy::on_failure);
  EXPECT_FALSE(restarts_after(on_failure, exited(0), false, 0));
  EXPECT_TRUE(restarts_after(on_failure, exited(3), false, 0));
  EXPECT_TRUE(restarts_after(on_failure, killed(), false, 0));
  EXPECT_TRUE(restarts_after(on_failure, killed(wire::Status::oom_killed), false, 0));
  // Killed for its health, and faster with a good end of its own than we were.
  EXPECT_TRUE(restarts_after(on_failure, exited(0), true, 0));
}

TEST(ManagedPolicy, AlwaysIsAlsoAfterAGoodEnd) {
  EXPECT_TRUE(restarts_after(policy(wire::RestartPolicy::always), exited(0), false, 100));
}

TEST(ManagedPolicy, MaxRestartsIsALimitOfEveryPolicy) {
  auto always = policy(wire::RestartPolicy::always);
  always.max_restarts = 2;
  EXPECT_TRUE(restarts_after(always, exited(0), false, 1));
  EXPECT_FALSE(restarts_after(always, exited(0), false, 2));
  always.max_restarts = 0;
  EXPECT_FALSE(restarts_after(always, exited(1), false, 0));
}

TEST(ManagedPolicy, ThePauseDoublesUpToItsLimit) {
  wire::Restart restart;
  restart.initial_backoff_ms = 100;
  restart.max_backoff_ms = 1000;
  EXPECT_EQ(backoff(restart, 0), Millis(100));
  EXPECT_EQ(backoff(restart, 1), Millis(200));
  EXPECT_EQ(backoff(restart, 3), Millis(800));
  EXPECT_EQ(backoff(restart, 4), Millis(1000));
  EXPECT_EQ(backoff(restart, 1'000'000), Millis(1000));
}

}  // namespace
}  // namespace glovebox::engine

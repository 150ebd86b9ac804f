#include "wire/managed.h"

#include <gtest/gtest.h>

#include "wire/sandbox.h"

namespace glovebox::wire {
namespace {

ManagedSpec managed(std::string_view json) {
  auto start = decode_process_start(json);
  EXPECT_TRUE(start) << start.error().what;
  EXPECT_TRUE(start && start->managed);
  return start && start->managed ? *start->managed : ManagedSpec{};
}
std::string refusal(std::string_view json) {
  auto start = decode_process_start(json);
  return start ? "" : start.error().what;
}

TEST(ManagedSpec, ACommandAloneIsNotManaged) {
  auto start = decode_process_start(R"({"command":"x","restart":null})");
  ASSERT_TRUE(start);
  EXPECT_FALSE(start->managed);
}

TEST(ManagedSpec, AnyOfItsMembersMakesItManagedWithTheDocumentedDefaults) {
  auto spec = managed(R"({"command":"x","name":"web"})");
  EXPECT_EQ(spec.name, "web");
  EXPECT_EQ(spec.restart.policy, RestartPolicy::on_failure);
  EXPECT_EQ(spec.restart.initial_backoff_ms, 500);
  EXPECT_EQ(spec.restart.max_backoff_ms, 30'000);
  EXPECT_FALSE(spec.restart.max_restarts);
  EXPECT_EQ(managed(R"({"command":"x","restart":{}})").restart.policy, RestartPolicy::on_failure);
  auto check = managed(R"({"command":"x","health_check":{"type":"tcp","port":80}})").health_check;
  ASSERT_TRUE(check);
  EXPECT_EQ(check->initial_delay_ms, 5000);
  EXPECT_EQ(check->interval_ms, 1000);
  EXPECT_EQ(check->timeout_ms, 500);
  EXPECT_EQ(check->failure_threshold, 3);
}

TEST(ManagedSpec, ErrorsNameTheMember) {
  EXPECT_NE(refusal(R"({"command":"x","restart":{"policy":"sometimes"}})").find("restart.policy"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"command":"x","health_check":{"type":"tcp"}})").find("health_check.port"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"command":"x","health_check":{"port":1}})").find("health_check.type"),
            std::string::npos);
}

TEST(ManagedSpec, ANameIsOneSegmentOfAPathAndNoPid) {
  for (auto bad : {"", "a/b", "123", "..", "run"}) EXPECT_FALSE(valid_managed_name(bad)) << bad;
  for (auto good : {"web", "a b", "9a", "wörk"}) EXPECT_TRUE(valid_managed_name(good)) << good;
}

TEST(ManagedSpec, ABackoffNeverIsSoShortThatItSpins) {
  auto spec = managed(R"({"command":"x","restart":{"initial_backoff_ms":0,"max_backoff_ms":0}})");
  EXPECT_GE(spec.restart.initial_backoff_ms, 10);
  EXPECT_GE(spec.restart.max_backoff_ms, spec.restart.initial_backoff_ms);
}

TEST(ManagedRecord, AnExitHasACodeOrASignal) {
  Managed kept;
  kept.id = "w";
  ProcessInfo exit;
  exit.status = Status::signaled;
  exit.signal = 9;
  exit.ended_ms = 5;
  kept.last_exit = exit;
  std::string text = encode_process(ProcessInfo{}, &kept);
  EXPECT_NE(text.find(R"("last_exit":{"oom_killed":false,"ended_at":5,"signal":9})"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("next_restart_at"), std::string::npos);
}

}  // namespace
}  // namespace glovebox::wire

#include "runner/service.h"

#include "runner/test_loop.h"
#include "runner/within.h"

namespace glovebox::runner {
namespace {

using Fault = FakeService::Fault;

class ServiceCalls : public ServiceTest {
 protected:
  Service service{loop, fake.options()};

  Task<void> expect_fatal(int status, bool is_fatal, std::size_t attempts) {
    fake.seen.clear();
    fake.fail("session", {Fault{status}, Fault{status}, Fault{status}});
    auto session = co_await service.session("sesn_1", key());
    EXPECT_FALSE(session) << status;
    if (!session) {
      EXPECT_EQ(fatal(session.error()), is_fatal) << status;
      EXPECT_EQ(status_of(session.error()), status);
      EXPECT_NE(session.error().what.find("made to fail"), std::string::npos);
    }
    EXPECT_EQ(fake.count("session"), attempts) << status;
    for (std::size_t left = attempts; left < 3; ++left)
      (void)co_await service.session("sesn_1", key());  // uses up the faults
    co_return ok;
  }

  Task<void> statuses() {
    fake.session();
    for (int status : {400, 401, 403, 404, 410, 412, 413, 422})
      CO_TRY_DO(co_await expect_fatal(status, true, 1));
    for (int status : {408, 409, 429, 500, 503, 529})
      CO_TRY_DO(co_await expect_fatal(status, false, 3));
    co_return ok;
  }

  Task<void> retried() {
    fake.session();
    fake.fail("session", {Fault{500}, Fault{429}});
    CO_TRY(session, co_await service.session("sesn_1", key()));
    EXPECT_EQ(session.status, "idle");
    EXPECT_EQ(fake.count("session"), 3u);
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(fake.seen[static_cast<std::size_t>(i)].headers.get("X-Stainless-Retry-Count"),
                str(i));
    co_return ok;
  }

  Task<void> told_not_to() {
    fake.session();
    Fault final_conflict{409};
    final_conflict.headers.set("x-should-retry", "false");
    fake.fail("session", {final_conflict});
    EXPECT_FALSE(co_await service.session("sesn_1", key()));
    EXPECT_EQ(fake.count("session"), 1u);
    co_return ok;
  }

  Task<void> nobody_there() {
    auto options = fake.options();
    CO_TRY_DO(co_await fake.close());
    Service lonely(loop, options);
    auto session = co_await lonely.session("sesn_1", key());
    EXPECT_FALSE(session);
    if (!session) {
      EXPECT_FALSE(fatal(session.error()));
      EXPECT_EQ(status_of(session.error()), 0);
    }
    co_return ok;
  }

  Task<void> silence() {
    auto options = fake.options();
    options.short_limit = 20ms;
    Service hasty(loop, options);
    fake.session();
    fake.hold("session");
    auto session = co_await hasty.session("sesn_1", key());
    EXPECT_FALSE(session);
    if (!session) EXPECT_EQ(session.error().code, Code::timeout);
    EXPECT_EQ(fake.count("session"), 3u);
    co_return ok;
  }

  Task<void> headers() {
    fake.queue("work_1", "sesn_1");
    Poll poll{"env_1", "me", 999, 2000};
    CO_TRY(work, co_await service.poll(poll, key("k")));
    EXPECT_TRUE(work);
    CO_TRY_DO(co_await service.ack("env_1", "work_1", key("k")));
    CO_TRY_DO(co_await service.heartbeat("env_1", "work_1", "NO_HEARTBEAT", key("t")));
    CO_TRY_DO(co_await service.events("sesn_1", "", 1000, key("t")));
    const auto& seen = fake.seen;
    EXPECT_EQ(seen[0].target,
              "/v1/environments/env_1/work/poll?block_ms=999&reclaim_older_than_ms=2000");
    EXPECT_EQ(seen[0].headers.get("Anthropic-Worker-ID"), "me");
    EXPECT_EQ(seen[0].headers.get("x-stainless-helper"), "environments-work-poller");
    EXPECT_EQ(seen[0].bearer, "Bearer k");
    EXPECT_EQ(seen[1].headers.get("Anthropic-Worker-ID"), std::nullopt);
    EXPECT_EQ(seen[2].target,
              "/v1/environments/env_1/work/work_1/heartbeat?expected_last_heartbeat=NO_HEARTBEAT");
    EXPECT_EQ(seen[2].bearer, "Bearer t");
    EXPECT_EQ(seen[2].headers.get("x-stainless-helper"), "environments-worker");
    EXPECT_EQ(seen[3].target, "/v1/sessions/sesn_1/events?limit=1000");
    EXPECT_EQ(seen[3].headers.get("x-stainless-helper"),
              "environments-worker, session-tool-runner");
    for (const auto& one : seen) {
      EXPECT_EQ(one.headers.get("anthropic-beta"), "managed-agents-2026-04-01");
      EXPECT_EQ(one.headers.get("anthropic-version"), "2026-10-21");
      EXPECT_TRUE(one.headers.get("User-Agent")->starts_with("glovebox/"));
    }
    co_return ok;
  }

  Task<void> stopping() {
    fake.queue("work_1", "sesn_1");
    CO_TRY_DO(co_await service.stop("env_1", "work_1", Service::Stop::by_force, key()));
    CO_TRY_DO(co_await service.stop("env_1", "work_1", Service::Stop::gracefully, key()));
    EXPECT_EQ(fake.seen[0].body, R"({"force":true})");
    EXPECT_EQ(fake.seen[1].body, "{}");
    EXPECT_EQ(fake.count("stop"), 2u);
    fake.fail("stop", {Fault{404}});
    EXPECT_FALSE(co_await service.stop("env_1", "work_1", Service::Stop::by_force, key()));
    co_return ok;
  }

  Task<void> refused_beat() {
    fake.queue("work_1", "sesn_1");
    CO_TRY(first, co_await service.heartbeat("env_1", "work_1", "NO_HEARTBEAT", key()));
    EXPECT_TRUE(first.accepted);
    EXPECT_TRUE(first.lease_extended);
    EXPECT_EQ(first.ttl_seconds, 300);
    CO_TRY(second, co_await service.heartbeat("env_1", "work_1", "NO_HEARTBEAT", key()));
    EXPECT_FALSE(second.accepted);
    EXPECT_EQ(second.last_heartbeat, first.last_heartbeat);
    EXPECT_FALSE(second.repeated);
    fake.fail("heartbeat", {Fault{500, true}});
    CO_TRY(third, co_await service.heartbeat("env_1", "work_1", second.last_heartbeat, key()));
    EXPECT_FALSE(third.accepted);
    EXPECT_TRUE(third.repeated);
    EXPECT_EQ(fake.count("heartbeat"), 4u);
    co_return ok;
  }

  Task<void> streaming() {
    CO_TRY(stream, co_await service.stream("sesn_1", key()));
    fake.say(tool_use("a"));
    fake.say(plain_event("session.usage"));
    CO_TRY(first, co_await stream->next());
    EXPECT_EQ(first->id, "a");
    CO_TRY(second, co_await stream->next());
    EXPECT_EQ(second->type, "session.usage");
    fake.cut_streams();
    CO_TRY(third, co_await stream->next());
    EXPECT_FALSE(third);
    fake.fail("stream", {Fault{404}});
    auto refused = co_await service.stream("sesn_1", key());
    EXPECT_TRUE(!refused && fatal(refused.error()));
    fake.fail("stream", {Fault{500}, Fault{503}});
    EXPECT_TRUE(co_await service.stream("sesn_1", key()));
    co_return ok;
  }

  Task<void> pages() {
    fake.page_limit = 2;
    for (int i = 0; i < 5; ++i) fake.say(tool_use(str("t", i)));
    std::string ids, cursor;
    for (int page = 0; page < 3; ++page) {
      CO_TRY(got, co_await service.events("sesn_1", cursor, 1000, key()));
      for (const Event& event : got.events) ids += event.id;
      cursor = got.next;
    }
    EXPECT_EQ(ids, "t0t1t2t3t4");
    EXPECT_EQ(cursor, "");
    co_return ok;
  }

  Task<void> odd_ids() {
    auto refused = co_await service.session("a/../b?c", key());
    EXPECT_FALSE(refused);
    EXPECT_EQ(fake.seen.size(), 1u);
    EXPECT_EQ(fake.seen[0].target, "/v1/sessions/a%2F..%2Fb%3Fc");
    co_return ok;
  }
};

TEST_F(ServiceCalls, FatalIsEvery4xxBut408And409And429) { run(statuses()); }
TEST_F(ServiceCalls, PassingTroubleIsRetriedTwice) { run(retried()); }
TEST_F(ServiceCalls, TheServiceMayForbidARetry) { run(told_not_to()); }
TEST_F(ServiceCalls, NoAnswerIsNotARefusal) { run(nobody_there()); }
TEST_F(ServiceCalls, SilenceIsATimeoutAndRetried) { run(silence()); }
TEST_F(ServiceCalls, RequestsCarryWhatTheOfficialWorkerSends) { run(headers()); }
TEST_F(ServiceCalls, StoppingTwiceIsFine) { run(stopping()); }
TEST_F(ServiceCalls, ARefusedBeatIsAnAnswer) { run(refused_beat()); }
TEST_F(ServiceCalls, StreamsGiveEventsUntilTheyEnd) { run(streaming()); }
TEST_F(ServiceCalls, HistoryComesInPages) { run(pages()); }
TEST_F(ServiceCalls, IdsCannotLeaveTheirPath) { run(odd_ids()); }

}  // namespace
}  // namespace glovebox::runner

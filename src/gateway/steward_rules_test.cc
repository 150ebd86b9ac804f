#include "gateway/steward_rules.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/temp_dir.h"
#include "gateway/uplink_test_parts.h"

namespace glovebox::gateway {
namespace {

Stewardship may() {
  Stewardship may;
  may.environment = "env_1";
  may.images = {"host", "tools"};
  may.snapshots = {"snap1"};
  may.volumes = {"shared"};
  may.longest_timeout_secs = 100;
  return may;
}

// An item of a session, one of none; a box it made, and one it did not.
StewardRecords knows() {
  auto records = StewardRecords::open(":memory:");
  EXPECT_TRUE(records);
  EXPECT_TRUE(records->took("work_1", "sesn_1", Secret("token"), 1));
  EXPECT_TRUE(records->took("work_2", "", Secret(), 2));
  EXPECT_TRUE(records->will_make("agent-one", 5));
  EXPECT_TRUE(records->made("agent-one", "box1"));
  return std::move(*records);
}

struct Asked {
  std::string method, target, body, box;
};

// As the server and the uplink do: the route first, then the rule.
Result<Outgoing> judge(Asked asked) {
  static const http::Router kRouter = router_of(steward_rules());
  http::Request request{.method = asked.method, .body = asked.body};
  if (!asked.box.empty()) request.headers.set("X-Tensorlake-Sandbox-Id", asked.box);
  const std::size_t mark = asked.target.find('?');
  request.path = asked.target.substr(0, mark);
  request.query = mark == std::string::npos ? "" : asked.target.substr(mark + 1);
  auto match = kRouter.find(request.method, request.path);
  if (!match.route) return Error{Code::not_found, "no route"};
  request.params = match.params;
  for (const StewardRule& rule : steward_rules())
    if (rule.method == match.route->method && rule.pattern == match.route->pattern) {
      if (rule.side != Side::uplink) return steward_request(may(), knows(), rule.act, request);
      if (rule.act == Act::credential || rule.act == Act::awake) return Outgoing{};
      TRY(of, steward_grant(knows(), rule.act, request));
      return Outgoing{.target = of.box + " " + of.work};
    }
  return Error{Code::internal, "a route without a rule"};
}

std::string worker(std::string_view work = "work_1", std::string_view session = "sesn_1",
                   std::string_view environment = "env_1",
                   std::string_view url = "http://127.0.0.1:4000", std::string_view more = "",
                   std::string_view command = kWorkerProgram) {
  return str(R"({"command":")", command, R"(","args":["worker","run","--work-id=)", work,
             R"(","--session-id=)", session, R"(","--environment-id=)", environment,
             R"(","--base-url=)", url,
             R"(","--workdir=/workspace","--log-format=json","--max-idle=60000ms")", more,
             R"(],"env":{"ANTHROPIC_ENVIRONMENT_KEY":"gb-held-by-the-uplink"}})");
}

std::string new_box(std::string_view more, std::string_view name = "agent-two",
                    std::string_view network = R"({"allow_internet_access":false})") {
  return str(R"({"name":")", name, R"(","timeout_secs":3600,"network":)", network, more, '}');
}

std::string result(bool is_error, std::string_view text) {
  return str(R"({"events":[{"type":"user.tool_result","tool_use_id":"sevt_1","is_error":)",
             is_error, R"(,"content":[{"type":"text","text":")", text, R"("}]}]})");
}

struct Pass {
  Asked asked;
  std::string becomes, body_becomes = {};
};

TEST(StewardRules, WhatAnOrchestratorAsksIsWrittenAnew) {
  const Pass kPasses[] = {
      {{"GET", "/v1/environments/env_1/work/poll?reclaim_older_than_ms=2000"},
       "/v1/environments/env_1/work/poll?reclaim_older_than_ms=2000"},
      {{"POST", "/v1/environments/env_1/work/work_1/ack"},
       "/v1/environments/env_1/work/work_1/ack"},
      {{"POST", "/v1/environments/env_1/work/work_2/heartbeat?expected_last_heartbeat=NO"},
       "/v1/environments/env_1/work/work_2/heartbeat?expected_last_heartbeat=NO"},
      {{"POST", "/v1/environments/env_1/work/work_1/stop", R"({"force":true,"x":1})"},
       "/v1/environments/env_1/work/work_1/stop",
       R"({"force":true})"},
      {{"GET", "/v1/sessions/sesn_1"}, "/v1/sessions/sesn_1"},
      {{"GET", "/v1/sessions/sesn_1/events?limit=1000&page=x"},
       "/v1/sessions/sesn_1/events?limit=1000&page=x"},
      {{"GET", "/v1/sessions/sesn_1/events/stream"}, "/v1/sessions/sesn_1/events/stream"},
      {{"POST", "/v1/sessions/sesn_1/events", result(true, "Error: no sandbox")},
       "/v1/sessions/sesn_1/events",
       result(true, "Error: no sandbox")},
      {{"POST", "/glovebox/v1/sessions/sesn_1/errors", R"({"message":"why"})"},
       "/glovebox/v1/sessions/sesn_1/errors",
       R"({"message":"why"})"},
      {{"GET", "/sandboxes/agent-not-there-yet"}, "/sandboxes/agent-not-there-yet"},
      {{"GET", "/sandboxes/box1"}, "/sandboxes/box1"},
      {{"DELETE", "/sandboxes/box1"}, "/sandboxes/box1"},
      {{"POST", "/sandboxes/box1/resume"}, "/sandboxes/box1/resume"},
      {{"POST", "/sandboxes/box1/uplink", R"({"port":0})"},
       "/sandboxes/box1/uplink",
       R"({"port":0})"},
      {{"POST", "/sandboxes", new_box(R"(,"resources":{"cpus":64},"image":"tools")")},
       "/sandboxes",
       R"({"name":"agent-two","image":"tools","network":{"allow_internet_access":false},"timeout_secs":100})"},
      {{"POST", "/sandboxes",
        new_box(
            R"(,"file_systems":[{"file_system_id":"outputs-sesn_1","mount_path":"/mnt/session/outputs"},{"file_system_id":"shared","mount_path":"/s","read_only":true}])")},
       "/sandboxes",
       R"({"name":"agent-two","network":{"allow_internet_access":false},"timeout_secs":100,"file_systems":[{"file_system_id":"outputs-sesn_1","mount_path":"/mnt/session/outputs","read_only":false},{"file_system_id":"shared","mount_path":"/s","read_only":true}]})"},
      {{"POST", "/volumes", R"({"name":"session-sesn_1"})"},
       "/volumes",
       R"({"name":"session-sesn_1"})"},
      {{"GET", "/api/v1/processes", "", "box1"}, "/api/v1/processes"},
      {{"POST", "/api/v1/processes", worker(), "box1"},
       "/api/v1/processes",
       R"({"command":"/dev/glovebox/glovebox-worker","args":["worker","run","--work-id=work_1","--session-id=sesn_1","--environment-id=env_1","--base-url=http://127.0.0.1:4000","--workdir=/workspace","--log-format=json","--max-idle=60000ms"],"env":{"ANTHROPIC_ENVIRONMENT_KEY":"gb-held-by-the-uplink"}})"},
      {{"GET", "/api/v1/processes/7", "", "box1"}, "/api/v1/processes/7"},
      {{"POST", "/api/v1/processes/7/signal", R"({"signal":15})", "box1"},
       "/api/v1/processes/7/signal",
       R"({"signal":15})"},
      {{"GET", "/api/v1/processes/7/output/follow", "", "box1"},
       "/api/v1/processes/7/output/follow"},
      {{"PUT", "/grants/box1", R"({"work_id":"work_1","session_id":"sesn_9"})"}, "box1 work_1"},
      {{"POST", "/grants/box1/renew", R"({"work_id":"work_1"})"}, "box1 work_1"},
      {{"DELETE", "/grants/box1?work_id=work_1"}, "box1 work_1"},
  };
  for (const Pass& pass : kPasses) {
    auto got = judge(pass.asked);
    ASSERT_TRUE(got) << pass.asked.target << ": " << got.error().what;
    EXPECT_EQ(got->target, pass.becomes);
    EXPECT_EQ(got->body, pass.body_becomes) << pass.asked.target;
    EXPECT_FALSE(got->headers.get("Authorization"));
  }
}

TEST(StewardRules, EverythingElseIsRefused) {
  const std::string kTwice =
      worker("work_1", "sesn_1", "env_1", "http://127.0.0.1:4000", R"(,"--work-id=work_1")");
  const Asked kAttempts[] = {
      // other queues, and more of its own than taking work
      {"GET", "/v1/environments/env_2/work/poll"},
      {"GET", "/v1/environments/env_1%2F..%2Fenv_2/work/poll"},
      {"GET", "/v1/environments/env_1/work/poll?worker=x"},
      {"GET", "/v1/environments/env_1/work"},
      {"GET", "/v1/environments/env_1/work/stats"},
      {"HEAD", "/v1/environments/env_1/work/poll"},
      {"POST", "/v1/environments/env_1/work/poll"},
      {"POST", "/v1/environments/env_1/work/work_9/ack"},
      {"POST", "/v1/environments/env_2/work/work_1/ack"},
      {"POST", "/v1/environments/env_1/work/work_9/stop"},
      {"POST", "/v1/environments/env_1/work/work_9/heartbeat"},
      {"POST", "/v1/environments/env_1/work/work_1/heartbeat?desired_ttl_seconds=600000"},
      {"POST", "/v1/environments/env_1/work/work_1/ack", R"({"a":1})"},
      {"POST", "/v1/environments/env_1/work/work_1%2F..%2Fwork_9/ack"},
      // sessions
      {"GET", "/v1/sessions/sesn_2"},
      {"GET", "/v1/sessions/"},
      {"GET", "/v1/sessions"},
      {"POST", "/v1/sessions"},
      {"POST", "/v1/sessions/sesn_1"},
      {"DELETE", "/v1/sessions/sesn_1"},
      {"GET", "/v1/sessions/sesn_2/events"},
      {"GET", "/v1/sessions/sesn_2/events/stream"},
      {"GET", "/v1/sessions/sesn_1/events?order=desc"},
      {"GET", "/v1/sessions/sesn_1/resources"},
      {"POST", "/v1/sessions/sesn_1/events", "{}"},
      {"POST", "/v1/sessions/sesn_1/events",
       R"({"events":[{"type":"user.message","content":[{"type":"text","text":"Error: x"}]}]})"},
      {"POST", "/v1/sessions/sesn_1/events", result(false, "Error: x")},
      {"POST", "/v1/sessions/sesn_1/events", result(true, "done")},
      {"POST", "/v1/sessions/sesn_2/events", result(true, "Error: x")},
      {"POST", "/glovebox/v1/sessions/sesn_2/errors", R"({"message":"x"})"},
      {"POST", "/glovebox/v1/sessions/sesn_1/errors", "{}"},
      {"GET", "/glovebox/v1/sessions/sesn_1/files/file_1/content"},
      {"GET", "/v1/sessions/sesn_1?limit=1"},
      {"GET", "/v1/agents"},
      {"GET", "/v1/files"},
      {"GET", "/v1/vaults"},
      // boxes it did not make
      {"GET", "/sandboxes"},
      {"GET", "/sandboxes/webhook-orchestrator"},
      {"GET", "/sandboxes/box2"},
      {"GET", "/sandboxes/agent-%2e%2e"},
      {"GET", "/sandboxes/agent-x%2fsnapshot"},
      {"GET", "/sandboxes/AGENT-x"},
      {"DELETE", "/sandboxes/box2"},
      {"DELETE", "/sandboxes/agent-one"},
      {"DELETE", "/sandboxes/webhook-orchestrator"},
      {"POST", "/sandboxes/box2/resume"},
      {"POST", "/sandboxes/box2/uplink", R"({"port":0})"},
      {"POST", "/sandboxes/box1/uplink", R"({"port":70000})"},
      {"GET", "/api/v1/processes", "", "box2"},
      {"GET", "/api/v1/processes", "", ""},
      {"POST", "/api/v1/processes", worker(), "box2"},
      {"GET", "/api/v1/processes/7/output/follow", "", "box2"},
      // verbs it has no need of
      {"PATCH", "/sandboxes/box1", R"({"exposed_ports":[80]})"},
      {"POST", "/sandboxes/box1/suspend"},
      {"POST", "/sandboxes/box1/snapshot"},
      {"POST", "/sandboxes/box1/copy"},
      {"PUT", "/sandboxes/box1/ports/80", "{}"},
      {"POST", "/sandboxes/box1/ports/80/token"},
      {"GET", "/sandboxes/box1/logs"},
      {"POST", "/sandboxes/box1/file_systems", "{}"},
      {"GET", "/images"},
      {"POST", "/images/pull", "{}"},
      {"GET", "/snapshots"},
      {"GET", "/snapshots/x/export"},
      {"GET", "/volumes"},
      {"DELETE", "/volumes/outputs-sesn_1"},
      {"GET", "/sandbox-pools"},
      {"GET", "/metrics"},
      {"GET", "/v1/namespaces/default/sandboxes"},
      {"POST", "/api/v1/processes/run", worker(), "box1"},
      {"POST", "/api/v1/tools/bash", R"({"command":"id"})", "box1"},
      {"GET", "/api/v1/files?path=/etc/passwd", "", "box1"},
      {"PUT", "/api/v1/files?path=/a", "x", "box1"},
      {"POST", "/api/v1/pty", "{}", "box1"},
      {"GET", "/api/v1/tunnels/tcp?port=22", "", "box1"},
      {"GET", "/api/v1/exec/ws", "", "box1"},
      {"GET", "/s/box2/api/v1/processes"},
      // boxes that are not as the operator said
      {"POST", "/sandboxes", new_box("", "webhook-orchestrator")},
      {"POST", "/sandboxes", new_box("", "agent-UP")},
      {"POST", "/sandboxes", new_box("", "agent-a/b")},
      {"POST", "/sandboxes", R"({"network":{"allow_internet_access":false}})"},
      {"POST", "/sandboxes", new_box(R"(,"image":"other")")},
      {"POST", "/sandboxes", new_box(R"(,"snapshot_id":"snap2")")},
      {"POST", "/sandboxes", new_box("", "agent-two", R"({"allow_internet_access":true})")},
      {"POST", "/sandboxes", new_box("", "agent-two", "{}")},
      {"POST", "/sandboxes", R"({"name":"agent-two"})"},
      {"POST", "/sandboxes",
       new_box("", "agent-two", R"({"allow_internet_access":false,"allow_out":["1.1.1.1"]})")},
      {"POST", "/sandboxes", new_box(R"(,"exposed_ports":[80])")},
      {"POST", "/sandboxes", new_box(R"(,"allow_unauthenticated_access":true)")},
      {"POST", "/sandboxes", new_box(R"(,"entrypoint":["sh"])")},
      {"POST", "/sandboxes",
       new_box(R"(,"file_systems":[{"file_system_id":"private","mount_path":"/p"}])")},
      {"POST", "/sandboxes",
       new_box(R"(,"file_systems":[{"file_system_id":"outputs-sesn_2","mount_path":"/p"}])")},
      {"POST", "/volumes", R"({"name":"anything"})"},
      {"POST", "/volumes", R"({"name":"outputs-sesn_2"})"},
      {"POST", "/volumes", R"({"name":"outputs-"})"},
      // other programs than its worker
      {"POST", "/api/v1/processes", R"({"command":"/bin/sh","args":["-c","id"]})", "box1"},
      {"POST", "/api/v1/processes",
       worker("work_1", "sesn_1", "env_1", "http://127.0.0.1:4000", "", "/bin/sh"), "box1"},
      {"POST", "/api/v1/processes", worker("work_9"), "box1"},
      {"POST", "/api/v1/processes", worker("work_2", ""), "box1"},
      {"POST", "/api/v1/processes", worker("work_1", "sesn_2"), "box1"},
      {"POST", "/api/v1/processes", worker("work_1", "sesn_1", "env_2"), "box1"},
      {"POST", "/api/v1/processes", worker("work_1", "sesn_1", "env_1", "http://10.0.0.1:80"),
       "box1"},
      {"POST", "/api/v1/processes",
       worker("work_1", "sesn_1", "env_1", "http://127.0.0.1:4000", R"(,"--on-work=/bin/sh")"),
       "box1"},
      {"POST", "/api/v1/processes", kTwice, "box1"},
      {"POST", "/api/v1/processes",
       R"({"command":"/dev/glovebox/glovebox-worker","args":["receive","--listen=0.0.0.0:80"]})",
       "box1"},
      {"POST", "/api/v1/processes",
       str(worker().substr(0, worker().size() - 2), R"(,"LD_PRELOAD":"/tmp/x.so"}})"), "box1"},
      {"POST", "/api/v1/processes",
       str(worker().substr(0, worker().size() - 1),
           R"(,"name":"kept","restart":{"policy":"always"}})"),
       "box1"},
      {"POST", "/api/v1/processes/7/signal", R"({"signal":19})", "box1"},
      {"POST", "/api/v1/processes/receiver/signal", R"({"signal":9})", "box1"},
      {"GET", "/api/v1/processes/7%2Fstdin", "", "box1"},
      {"DELETE", "/api/v1/processes/7", "", "box1"},
      // grants
      {"PUT", "/grants/box2", R"({"work_id":"work_1"})"},
      {"PUT", "/grants/box1", R"({"work_id":"work_9"})"},
      {"PUT", "/grants/box1", R"({"work_id":"work_2"})"},
      {"PUT", "/grants/box1", R"({})"},
      {"POST", "/grants/box2/renew", R"({"work_id":"work_1"})"},
      {"DELETE", "/grants/box2?work_id=work_1"},
      {"DELETE", "/grants/box1"},
      {"PUT", "/doors/box1"},
      {"GET", "/hints?before=0"},
      {"POST", "/drain"},
  };
  for (const Asked& attempt : kAttempts) {
    auto got = judge(attempt);
    EXPECT_FALSE(got) << attempt.method << " " << attempt.target << " " << attempt.body;
  }
}

// Of what is gone boxes are removed; who has only forgotten must not say so.
TEST(StewardRules, WhatIsNotKnownIsNotSaidToBeGone) {
  for (const Asked& asked :
       {Asked{"GET", "/v1/sessions/sesn_2"}, Asked{"GET", "/v1/sessions/sesn_2/events"},
        Asked{"DELETE", "/volumes/outputs-sesn_2"}}) {
    auto got = judge(asked);
    ASSERT_FALSE(got) << asked.target;
    EXPECT_EQ(got.error().code, Code::forbidden) << asked.target;
  }
}

TEST(StewardRules, OfASessionItHearsItsStateAndItsMetadata) {
  auto seen = session_for_steward(
      R"({"id":"sesn_1","status":"running","agent":{"system":"secret"},"metadata":{"a":"b"},"resources":[1]})");
  ASSERT_TRUE(seen);
  EXPECT_EQ(*seen, R"({"id":"sesn_1","status":"running","metadata":{"a":"b"}})");
  EXPECT_FALSE(session_for_steward("[]"));
}

TEST(StewardRules, OfEventsItHearsNothingThatAnybodySaid) {
  auto seen = history_for_steward(
      R"({"data":[{"id":"e1","type":"agent.tool_use","name":"bash","input":{"command":"secret"},"evaluated_permission":"allow"},{"id":"e2","type":"user.message","content":[{"type":"text","text":"secret"}]},{"id":"e3","type":"session.status_idle","stop_reason":{"type":"requires_action","event_ids":["e1"]},"name":{"a":"secret"}}],"next_page":"p","more":"secret"})");
  ASSERT_TRUE(seen);
  EXPECT_EQ(
      *seen,
      R"({"data":[{"id":"e1","type":"agent.tool_use","name":"bash","evaluated_permission":"allow"},{"id":"e2","type":"user.message"},{"id":"e3","type":"session.status_idle","stop_reason":{"type":"requires_action"}}],"next_page":"p"})");
  EXPECT_EQ(event_for_steward(R"({"id":"e2","type":"user.message","content":"secret"})"),
            R"({"id":"e2","type":"user.message"})");
  EXPECT_EQ(event_for_steward("no json"), "{}");
}

TEST(StewardRules, VolumesGoWhereTheOperatorSaidSo) {
  http::Request request{.method = "DELETE", .params = {{"volume", "outputs-sesn_1"}}};
  Stewardship with = may();
  EXPECT_FALSE(steward_request(with, knows(), Act::remove_volume, request));
  with.volumes_go = true;
  EXPECT_TRUE(steward_request(with, knows(), Act::remove_volume, request));
  request.params = {{"volume", "outputs-sesn_2"}};
  EXPECT_FALSE(steward_request(with, knows(), Act::remove_volume, request));
  request.params = {{"volume", "shared"}};
  EXPECT_FALSE(steward_request(with, knows(), Act::remove_volume, request));
}

TEST(StewardRules, AnItemsTokenStaysOutside) {
  const std::string secret = base64url(R"({"sessions_token":"the-token"})");
  auto offered = offered_to_steward(str(
      R"({"id":"work_1","environment_id":"env_1","state":"queued","data":{"type":"session","id":"sesn_1"},"secret":")",
      secret, R"(","other":"thing"})"));
  ASSERT_TRUE(offered && *offered);
  EXPECT_EQ((*offered)->work, "work_1");
  EXPECT_EQ((*offered)->session, "sesn_1");
  EXPECT_TRUE((*offered)->token.equals("the-token"));
  EXPECT_FALSE((*offered)->json.contains(secret));
  EXPECT_FALSE((*offered)->json.contains("the-token"));
  EXPECT_FALSE((*offered)->json.contains("other"));
  for (const char* nothing : {"", "null", "{}", R"({"id":"../x"})"}) {
    auto none = offered_to_steward(nothing);
    EXPECT_TRUE(none && !*none) << nothing;
  }
}

TEST(StewardRecords, ABoxIsKnownAgainByItsNameAndItsTime) {
  auto records = *StewardRecords::open(":memory:");
  EXPECT_FALSE(*records.recognise("agent-a", "id1", 100));  // never to be made
  ASSERT_TRUE(records.will_make("agent-a", 100));
  EXPECT_FALSE(*records.recognise("agent-a", "id1", 99));  // was there before
  EXPECT_FALSE(records.has_box("id1"));
  EXPECT_TRUE(*records.recognise("agent-a", "id1", 100));  // the answer was lost
  EXPECT_TRUE(records.has_box("id1"));
  EXPECT_FALSE(*records.recognise("agent-a", "id2", 200));  // somebody else's by now
  ASSERT_TRUE(records.will_make("agent-a", 300));           // changes nothing while it lives
  EXPECT_TRUE(*records.recognise("agent-a", "id1", 100));
  ASSERT_TRUE(records.lost("id1"));
  EXPECT_FALSE(records.has_box("id1"));
  EXPECT_FALSE(*records.recognise("agent-a", "id1", 100));
}

TEST(StewardRecords, AnAttemptsBoxWasMadeWithinIt) {
  auto records = *StewardRecords::open(":memory:");
  ASSERT_TRUE(records.will_make("agent-a", 100));
  EXPECT_FALSE(*records.recognise("agent-a", "id1", 100 + 600'000));  // somebody else's
  EXPECT_TRUE(*records.recognise("agent-a", "id2", 100 + 60'000));
}

TEST(StewardRecords, ARefusedAttemptIsForgottenButNoBox) {
  auto records = *StewardRecords::open(":memory:");
  EXPECT_TRUE(*records.will_make("agent-a", 100));
  EXPECT_FALSE(*records.will_make("agent-a", 100));  // nobody knows what became of the first
  ASSERT_TRUE(records.not_made("agent-a"));
  EXPECT_FALSE(*records.recognise("agent-a", "id1", 100));
  ASSERT_TRUE(records.made("agent-a", "id2"));
  EXPECT_FALSE(*records.will_make("agent-a", 200));
  ASSERT_TRUE(records.not_made("agent-a"));
  EXPECT_TRUE(records.has_box("id2"));
}

TEST(StewardRecords, OldItemsAreForgottenWhileItLivesButNotThoseOfItsBoxes) {
  const std::string directory = make_temp_dir("glovebox-steward"), file = directory + "/db";
  auto name_of = [](std::string_view what, int i) { return str(what, i); };
  {
    auto records = *StewardRecords::open(file, 8);
    ASSERT_TRUE(records.will_make("agent-a", 1));
    ASSERT_TRUE(records.made("agent-a", "id1"));
    for (int i = 1; i <= 100; ++i) {
      // A clock that is set back makes no item old.
      ASSERT_TRUE(
          records.took(name_of("work_", i), name_of("sesn_", i), Secret("token"), 1000 - i));
      ASSERT_TRUE(records.item(name_of("work_", i)));
      if (i == 1) ASSERT_TRUE(records.granted("id1", "work_1"));
    }
    EXPECT_TRUE(records.item_of("sesn_1") && records.item_of("sesn_93"));
    EXPECT_FALSE(records.item_of("sesn_2") || records.item("work_2"));
    EXPECT_FALSE(records.item_of("sesn_80"));
  }
  auto again = *StewardRecords::open(file, 8);
  EXPECT_TRUE(again.item_of("sesn_1") && again.item_of("sesn_93"));
  EXPECT_FALSE(again.item_of("sesn_80"));
  ASSERT_TRUE(again.lost("id1"));
  for (int i = 101; i <= 110; ++i)
    ASSERT_TRUE(again.took(name_of("work_", i), name_of("sesn_", i), Secret(), 1));
  EXPECT_FALSE(again.item_of("sesn_1"));
  std::filesystem::remove_all(directory);
}

TEST(StewardRecords, OfASessionsItemsTheNewestAloneHasItsToken) {
  auto records = *StewardRecords::open(":memory:");
  for (auto work : {"work_1", "work_2", "work_2"})
    ASSERT_TRUE(records.took(work, "sesn_1", Secret("token"), 1));
  EXPECT_TRUE(records.item("work_1")->token.empty());
  EXPECT_TRUE(records.item_of("sesn_1")->token.equals("token"));
}

}  // namespace
}  // namespace glovebox::gateway

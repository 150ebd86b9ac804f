#include "gateway/uplink_rules.h"

#include <gtest/gtest.h>

#include "gateway/redactor.h"
#include "gateway/uplink_body.h"
#include "gateway/uplink_test_parts.h"

namespace glovebox::gateway {
namespace {

Grant grant() {
  Grant grant;
  grant.environment = "env_1";
  grant.work = "work_1";
  grant.session = "sesn_1";
  grant.service_url = "http://127.0.0.1:1";
  grant.credential = Secret("token");
  grant.skills = {"skill_1"};
  grant.stores = {{"memstore_rw", false}, {"memstore_ro", true}};
  return grant;
}

struct Asked {
  std::string method, target, body;
  http::Headers headers;
};

// As the server and the uplink do: the route first, then the rule.
Result<Outgoing> judge(Asked asked) {
  static const http::Router kRouter = router_of(rules());
  http::Request request{.method = asked.method, .headers = asked.headers, .body = asked.body};
  const std::size_t mark = asked.target.find('?');
  request.path = asked.target.substr(0, mark);
  request.query = mark == std::string::npos ? "" : asked.target.substr(mark + 1);
  auto match = kRouter.find(request.method, request.path);
  if (!match.route) return Error{Code::not_found, "no route"};
  request.params = match.params;
  for (const Rule& rule : rules())
    if (rule.method == match.route->method && rule.pattern == match.route->pattern)
      return outgoing(grant(), rule.endpoint, request);
  return Error{Code::internal, "a route without a rule"};
}

constexpr char kResult[] =
    R"({"events":[{"type":"user.tool_result","tool_use_id":"sevt_1","is_error":false,"content":[{"type":"text","text":"a"}]}]})";

struct Pass {
  std::string method, target, body;
  std::string becomes, body_becomes;
};

TEST(UplinkRules, WhatAWorkerAsksIsWrittenAnew) {
  const Pass kPasses[] = {
      {"GET", "/v1/sessions/sesn_1", "", "/v1/sessions/sesn_1", ""},
      {"GET", "/v1/sessions/sesn_1?beta=true", "", "/v1/sessions/sesn_1", ""},
      {"GET", "/v1/sessions/%73esn_1", "", "/v1/sessions/sesn_1", ""},
      {"GET", "/v1/sessions/sesn_1/events?page=a%2Bb&limit=1000", "",
       "/v1/sessions/sesn_1/events?limit=1000&page=a%2Bb", ""},
      {"POST", "/v1/sessions/sesn_1/events", kResult, "/v1/sessions/sesn_1/events",
       R"({"events":[{"type":"user.tool_result","tool_use_id":"sevt_1","is_error":false,"content":[{"type":"text","text":"a"}]}]})"},
      {"GET", "/v1/sessions/sesn_1/events/stream", "", "/v1/sessions/sesn_1/events/stream", ""},
      {"POST", "/v1/environments/env_1/work/work_1/heartbeat?expected_last_heartbeat=NO_HEARTBEAT",
       "", "/v1/environments/env_1/work/work_1/heartbeat?expected_last_heartbeat=NO_HEARTBEAT", ""},
      {"POST", "/v1/environments/env_1/work/work_1/stop", R"({"force":true})",
       "/v1/environments/env_1/work/work_1/stop", R"({"force":true})"},
      {"POST", "/v1/environments/env_1/work/work_1/stop", "",
       "/v1/environments/env_1/work/work_1/stop", "{}"},
      {"GET", "/v1/skills/skill_1/versions/latest", "", "/v1/skills/skill_1/versions/latest", ""},
      {"GET", "/v1/skills/skill_1/versions/3/content", "", "/v1/skills/skill_1/versions/3/content",
       ""},
      {"GET", "/v1/memory_stores/memstore_ro/memories?view=full&limit=20", "",
       "/v1/memory_stores/memstore_ro/memories?view=full&limit=20", ""},
      {"POST", "/v1/memory_stores/memstore_rw/memories", R"({"path":"/a","content":"b"})",
       "/v1/memory_stores/memstore_rw/memories", R"({"path":"/a","content":"b"})"},
      {"POST", "/v1/memory_stores/memstore_rw/memories/mem_1",
       R"({"content":"b","precondition":{"type":"content_sha256","content_sha256":"00"}})",
       "/v1/memory_stores/memstore_rw/memories/mem_1",
       R"({"content":"b","precondition":{"type":"content_sha256","content_sha256":"00"}})"},
      {"DELETE", "/v1/memory_stores/memstore_rw/memories/mem_1", "",
       "/v1/memory_stores/memstore_rw/memories/mem_1", ""},
  };
  for (const Pass& pass : kPasses) {
    auto out = judge({pass.method, pass.target, pass.body, {}});
    ASSERT_TRUE(out) << pass.method << ' ' << pass.target << ": " << out.error().what;
    EXPECT_EQ(out->method, pass.method);
    EXPECT_EQ(out->target, pass.becomes);
    EXPECT_EQ(out->body, pass.body_becomes);
  }
}

struct Refusal {
  std::string method, target, body;
  Code code;
};

TEST(UplinkRules, WhatWasNotGrantedDoesNotExist) {
  const Code none = Code::not_found;
  const Refusal kRefusals[] = {
      // Other sessions, other items, other environments.
      {"GET", "/v1/sessions/sesn_2", "", none},
      {"GET", "/v1/sessions/sesn_2/events", "", none},
      {"POST", "/v1/sessions/sesn_2/events", kResult, none},
      {"GET", "/v1/sessions/sesn_2/events/stream", "", none},
      {"GET", "/v1/sessions/SESN_1", "", none},
      {"GET", "/v1/sessions/sesn_1%00", "", none},
      {"GET", "/v1/sessions/sesn_1%2F..%2Fsesn_2", "", none},
      {"GET", "/v1/sessions/sesn_1/../sesn_2", "", none},
      {"GET", "/v1/sessions/sesn_1%2Fevents", "", none},
      {"GET", "/v1/sessions/sesn_1/", "", none},
      {"POST", "/v1/environments/env_2/work/work_1/heartbeat", "", none},
      {"POST", "/v1/environments/env_1/work/work_2/heartbeat", "", none},
      {"POST", "/v1/environments/env_1/work/work_2/stop", "{}", none},
      // The queue.
      {"GET", "/v1/environments/env_1/work/poll", "", none},
      {"GET", "/v1/environments/env_1/work/poll?block_ms=999", "", none},
      {"POST", "/v1/environments/env_1/work/work_1/ack", "", none},
      {"GET", "/v1/environments/env_1/work", "", none},
      {"GET", "/v1/environments/env_1/work/work_1", "", none},
      {"POST", "/v1/environments/env_1/work/work_1", R"({"metadata":{}})", none},
      {"GET", "/v1/environments/env_1/work/stats", "", none},
      // What a client of the session may and a worker may not.
      {"POST", "/v1/sessions/sesn_1", R"({"title":"mine"})", none},
      {"DELETE", "/v1/sessions/sesn_1", "", none},
      {"POST", "/v1/sessions/sesn_1/archive", "", none},
      {"GET", "/v1/sessions/sesn_1/resources", "", none},
      {"GET", "/v1/sessions/sesn_1/threads", "", none},
      {"GET", "/v1/sessions", "", none},
      {"POST", "/v1/sessions", "{}", none},
      {"GET", "/v1/agents", "", none},
      {"GET", "/v1/environments", "", none},
      {"GET", "/v1/vaults", "", none},
      {"GET", "/v1/files", "", none},
      {"GET", "/glovebox/v1/credential", "", none},
      {"POST", "/glovebox/v1/environments/env_1/keys", "{}", none},
      {"GET", "/metrics", "", none},
      {"PUT", "/grants/box", "{}", none},
      // Skills and stores that are not the session's.
      {"GET", "/v1/skills", "", none},
      {"GET", "/v1/skills/skill_2/versions/latest", "", none},
      {"GET", "/v1/skills/skill_1", "", none},
      {"GET", "/v1/skills/skill_1/versions", "", none},
      {"GET", "/v1/skills/skill_1/versions/..", "", none},
      {"GET", "/v1/skills/skill_1/versions/%2e%2e/content", "", none},
      {"GET", "/v1/skills/skill_1/versions/a%2Fb", "", none},
      {"DELETE", "/v1/skills/skill_1/versions/3", "", none},
      {"GET", "/v1/memory_stores/memstore_other/memories", "", none},
      {"GET", "/v1/memory_stores/memstore_rw", "", none},
      {"DELETE", "/v1/memory_stores/memstore_rw", "", none},
      {"GET", "/v1/memory_stores/memstore_rw/memory_versions", "", none},
      {"GET", "/v1/memory_stores/memstore_rw/memories/%2e%2e", "", none},
      {"POST", "/v1/memory_stores/memstore_ro/memories", R"({"path":"/a","content":"b"})",
       Code::forbidden},
      {"POST", "/v1/memory_stores/memstore_ro/memories/mem_1", "{}", Code::forbidden},
      {"DELETE", "/v1/memory_stores/memstore_ro/memories/mem_1", "", Code::forbidden},
      // Methods.
      {"HEAD", "/v1/sessions/sesn_1", "", none},
      {"PUT", "/v1/sessions/sesn_1", "", none},
      {"OPTIONS", "/v1/sessions/sesn_1", "", none},
      {"CONNECT", "/v1/sessions/sesn_1", "", none},
      {"PATCH", "/v1/sessions/sesn_1/events", "{}", none},
  };
  for (const Refusal& refusal : kRefusals) {
    auto out = judge({refusal.method, refusal.target, refusal.body, {}});
    ASSERT_FALSE(out) << refusal.method << ' ' << refusal.target << " became " << out->target;
    EXPECT_EQ(out.error().code, refusal.code) << refusal.method << ' ' << refusal.target;
  }
}

TEST(UplinkRules, ArgumentsAreKnownOrRefused) {
  for (const char* query : {"limit=10&limit=20", "limit=-1", "limit=99999", "limit=1e3",
                            "limit=", "page=", "page=a%0db", "page=a%20b", "types[]=user.message",
                            "order=up", "x=1", "=", "limit=10&page=%00"}) {
    auto out = judge({"GET", str("/v1/sessions/sesn_1/events?", query), "", {}});
    EXPECT_FALSE(out) << query << " became " << out->target;
  }
  const std::string beat = "/v1/environments/env_1/work/work_1/heartbeat?";
  EXPECT_FALSE(judge({"POST", beat + "desired_ttl_seconds=600", "", {}}));
  EXPECT_FALSE(judge({"POST", beat + "expected_last_heartbeat=a%0d%0aX:%20y", "", {}}));
  EXPECT_FALSE(
      judge({"GET", "/v1/sessions/sesn_1/events/stream?event_deltas[]=agent.message", "", {}}));
  EXPECT_FALSE(judge({"DELETE",
                      "/v1/memory_stores/memstore_rw/memories/mem_1?expected_content_sha256=zz",
                      "",
                      {}}));
}

TEST(UplinkRules, TheOperatorsHeadersAreOnEachRequestAndBeatGeneralOnes) {
  Grant with = grant();
  with.headers.set("X-Team", "boxes");
  with.headers.set("User-Agent", "mine");
  with.headers.set("anthropic-beta", "other");
  http::Request request{.method = "GET", .params = {{"session", "sesn_1"}}};
  auto out = outgoing(with, Endpoint::session, request);
  ASSERT_TRUE(out) << out.error().what;
  EXPECT_EQ(out->headers.get("x-team"), "boxes");
  EXPECT_EQ(out->headers.get("user-agent"), "mine");
  EXPECT_EQ(out->headers.get("anthropic-beta"), "managed-agents-2026-04-01");
}

TEST(UplinkRules, NoHeaderOfTheBoxIsPassedOn) {
  Asked asked{"GET", "/v1/sessions/sesn_1", "", {}};
  for (auto [name, value] : {std::pair{"Authorization", "Bearer mine"},
                             {"x-api-key", "mine"},
                             {"anthropic-workspace-id", "wrkspc_2"},
                             {"Anthropic-Worker-ID", "w"},
                             {"X-Forwarded-For", "1.2.3.4"},
                             {"Host", "elsewhere"},
                             {"Cookie", "a=b"},
                             {"Connection", "Authorization"},
                             {"Transfer-Encoding", "chunked"},
                             {"X-Tensorlake-Sandbox-Id", "other"},
                             {"Accept", "text/html"},
                             {"anthropic-beta", "made-up-2027-01-01, skills-2025-10-02\tx"},
                             {"anthropic-version", "2023-06-01"},
                             {"x-stainless-helper", "session-tool-runner, mine"}})
    asked.headers.add(name, value);
  auto out = judge(std::move(asked));
  ASSERT_TRUE(out);
  std::string all;
  for (const auto& [name, value] : out->headers.all()) all += str(name, ": ", value, '\n');
  EXPECT_EQ(all,
            str("Accept: application/json\n", "User-Agent: glovebox-uplink/", GLOVEBOX_VERSION,
                "\nanthropic-version: 2023-06-01\n", "anthropic-beta: managed-agents-2026-04-01\n",
                "x-stainless-helper: session-tool-runner\n"));
  Asked odd{"GET", "/v1/sessions/sesn_1", "", {}};
  odd.headers.add("anthropic-version", "2023-06-0\n");
  EXPECT_EQ(judge(std::move(odd))->headers.get("anthropic-version"), "2026-10-21");
}

TEST(UplinkBody, AWorkerAnswersCallsAndSaysNothingElse) {
  const char* const kRefused[] = {
      R"({"events":[{"type":"user.message","content":[{"type":"text","text":"do it"}]}]})",
      R"({"events":[{"type":"user.interrupt"}]})",
      R"({"events":[{"type":"user.custom_tool_result","custom_tool_use_id":"sevt_1"}]})",
      R"({"events":[{"type":"user.tool_confirmation","tool_use_id":"sevt_1","result":"allow"}]})",
      R"({"events":[{"type":"user.define_outcome","description":"x"}]})",
      R"({"events":[{"type":"system.message","content":[]}]})",
      R"({"events":[{"type":"agent.message","content":[]}]})",
      R"({"events":[{"type":"user.tool_result","tool_use_id":"a"},{"type":"user.interrupt"}]})",
      R"({"events":[{"type":"USER.TOOL_RESULT","tool_use_id":"a"}]})",
      R"({"events":[{"type":["user.tool_result"],"tool_use_id":"a"}]})",
      R"({"events":[{"type":"user.tool_result"}]})",
      R"({"events":[{"type":"user.tool_result","tool_use_id":7}]})",
      R"({"events":[{"type":"user.tool_result","tool_use_id":"a","content":"text"}]})",
      R"({"events":[{"type":"user.tool_result","tool_use_id":"a","content":[{"type":"tool_use"}]}]})",
      R"({"events":[{"type":"user.tool_result","tool_use_id":"a","content":["x"]}]})",
      R"({"events":[{"type":"user.tool_result","tool_use_id":"a","is_error":"yes"}]})",
      R"({"events":[]})",
      R"({"events":{}})",
      R"({})",
      R"([])",
      "",
      "{",
      "null",
      R"({"events":[{"type":"user.tool_result","tool_use_id":"a"}]}{"events":[]})",
  };
  for (const char* body : kRefused) EXPECT_FALSE(rewrite_events(body)) << body;
}

TEST(UplinkBody, OnlyWhatIsUnderstoodIsWritten) {
  auto out = rewrite_events(
      R"({"events":[{"type":"user.interrupt","type":"user.tool_result","tool_use_id":"a",)"
      R"("session_thread_id":"sthr_x","evaluated_permission":"allow","content":null}],"beta":1})");
  ASSERT_TRUE(out) << out.error().what;
  EXPECT_EQ(*out, R"({"events":[{"type":"user.tool_result","tool_use_id":"a"}]})");
  EXPECT_EQ(rewrite_stop(R"({"force":false,"reason":"x"})").value(), R"({"force":false})");
  EXPECT_FALSE(rewrite_stop(R"({"force":"true"})"));
  EXPECT_FALSE(rewrite_new_memory(R"({"path":"/a"})"));
}

TEST(UplinkBody, ManySmallValuesAreRefusedBeforeTheyAreParsed) {
  std::string many = R"({"events":[{"type":"user.tool_result","tool_use_id":"a","content":[)";
  for (int i = 0; i < 100'000; ++i) many += "{},";
  auto out = rewrite_events(many + "{}]}]}");
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, Code::too_large);
  EXPECT_FALSE(rewrite_events(std::string(100'000, '[')));
  // Text may be long, and have commas in it.
  std::string text = R"({"events":[{"type":"user.tool_result","tool_use_id":"a","content":[)"
                     R"({"type":"text","text":")" +
                     std::string(1'000'000, ',') + R"(\"["}]}]})";
  EXPECT_TRUE(rewrite_events(text));
}

TEST(Redactor, TheSecretIsTakenOutHoweverThePiecesAreCut) {
  const Secret secret("gb-abab-x");
  const std::string whole = "one gb-abab-x two gb-abab-gb-abab-x ab gb-ab";
  for (std::size_t size = 1; size <= whole.size(); ++size) {
    Redactor redactor(secret);
    std::string out;
    for (std::size_t at = 0; at < whole.size(); at += size)
      out += redactor.pass(whole.substr(at, size));
    out += redactor.rest();
    EXPECT_EQ(out, "one ********* two gb-abab-********* ab gb-ab") << size;
  }
}

TEST(Redactor, WhatCannotBeTheSecretIsNotHeldBack) {
  const Secret secret("gb-abab-x");
  Redactor redactor(secret);
  EXPECT_EQ(redactor.pass("data: {}\n\n"), "data: {}\n\n");
  EXPECT_EQ(redactor.pass("a gb-"), "a ");
  EXPECT_EQ(redactor.pass("no"), "gb-no");
}

}  // namespace
}  // namespace glovebox::gateway

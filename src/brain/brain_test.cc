// The whole brain behind its HTTP API, in memory: who may call what, shapes, errors, pages.
#include "brain/served.h"

namespace glovebox::brain {

TEST_F(Served, FirstStartMakesWhatASessionNeeds) {
  EXPECT_EQ(get("/v1/environments/" + environment_).text("/name"), "default");
  auto agent = get("/v1/agents/" + agent_);
  EXPECT_EQ(agent.text("/model/id"), "claude-sonnet-5-5");
  EXPECT_EQ(agent.text("/tools/0/type"), "agent_toolset_20260401");
  auto credential = get("/glovebox/v1/credential", kEnv);
  EXPECT_EQ(credential.text("/kind"), "environment");
  EXPECT_EQ(credential.text("/environment_id"), environment_);
  EXPECT_EQ(get("/glovebox/v1/status").text("/model/kind"), "rehearsal");
}

TEST_F(Served, NumbersAreWrittenAsOthersWriteThem) {
  auto tools = [](std::string_view least) {
    return str(R"("tools":[{"type":"custom","name":"t","description":"d","input_schema":{)",
               R"("type":"object","properties":{"x":{"type":"number","minimum":)", least, "}}}}]");
  };
  const std::string agent =
      make("/v1/agents", str(R"({"name":"n","model":"m",)", tools("0.5"), '}'));
  const std::string session =
      make("/v1/sessions",
           str(R"({"agent":")", agent, R"(",)", R"("environment_id":")", environment_, "\"}"));
  auto raw = [&](std::string target) {
    Result<http::ClientResponse> answer = Error{};
    run(fetch(*client_, "GET", target, "", {}, kApi, answer));
    return answer ? answer->body : "";
  };
  EXPECT_TRUE(raw("/v1/agents/" + agent).contains(R"("minimum":0.5)"));
  EXPECT_TRUE(raw("/v1/sessions/" + session).contains(R"("minimum":0.5)"));
  const std::string change = str(R"({"agent":{)", tools("0.25"), "}}");
  for (int i = 0; i < 2; ++i)  // the second time nothing is changed, and nothing told
    EXPECT_EQ(post("/v1/sessions/" + session, change).status, 200);
  EXPECT_TRUE(raw("/v1/sessions/" + session).contains(R"("minimum":0.25)"));
  const std::string events = raw("/v1/sessions/" + session + "/events");
  EXPECT_TRUE(events.contains(R"("minimum":0.25)")) << events;
  EXPECT_EQ(events.find("session.updated"), events.rfind("session.updated"));
  EXPECT_EQ(post("/v1/agents/" + agent, str("{", tools("0.75"), R"(,"version":1})")).status, 200);
  EXPECT_TRUE(raw("/v1/agents/" + agent).contains(R"("minimum":0.75)"));
}

TEST_F(Kept, DefaultsAndKeysSurviveARestart) {
  const std::string environment = environment_, agent = agent_;
  stop();
  environment_.clear();
  start();
  EXPECT_EQ(environment_, environment);
  EXPECT_EQ(agent_, agent);
  EXPECT_EQ(get("/v1/environments").body.at("data").as_array().size(), 1u);
  EXPECT_EQ(get(str("/glovebox/v1/environments/", environment_, "/keys"))
                .body.at("data")
                .as_array()
                .size(),
            1u);
}

TEST_F(Served, AnotherEmbeddedKeyTakesThePlaceOfTheFirst) {
  brain_->set_keys({Secret(kApi), Secret(kMetrics), Secret("gb-env-other")});
  EXPECT_EQ(get("/glovebox/v1/credential", kEnv).status, 401);
  EXPECT_EQ(get("/glovebox/v1/credential", "gb-env-other").text("/environment_id"), environment_);
  brain_->set_keys({Secret("gb-api-other"), Secret(kMetrics), Secret("gb-env-other")});
  EXPECT_EQ(get("/glovebox/v1/status").status, 401);
  EXPECT_EQ(get("/glovebox/v1/status", "gb-api-other").status, 200);
}

TEST_F(Served, EachCallIsForWhomItIsFor) {
  const Claimed claimed = claim();
  const std::string session = "/v1/sessions/" + claimed.session,
                    work = work_path("/" + claimed.work);
  struct Line {
    std::string method, target;
    int api, environment, token;
  };
  const std::vector<Line> table = {
      {"GET", "/v1/agents", 200, 403, 403},
      {"POST", "/v1/agents", 400, 403, 403},
      {"GET", "/v1/agents/" + agent_, 200, 403, 403},
      {"GET", "/v1/environments", 200, 403, 403},
      {"GET", "/v1/environments/" + environment_, 200, 403, 403},
      {"GET", "/v1/sessions", 200, 403, 403},
      {"POST", "/v1/sessions", 400, 403, 403},
      {"GET", session, 200, 200, 200},
      {"POST", session, 200, 403, 403},
      {"DELETE", "/v1/sessions/sesn_none", 404, 403, 403},
      {"POST", "/v1/sessions/sesn_none/archive", 404, 403, 403},
      {"GET", session + "/events", 200, 200, 200},
      {"POST", session + "/events", 400, 400, 400},
      {"GET", session + "/threads", 200, 403, 403},
      {"GET", session + "/resources", 200, 403, 403},
      {"GET", work_path("/poll"), 403, 200, 403},
      {"GET", work_path("/stats"), 200, 200, 403},
      {"GET", work_path(""), 200, 200, 403},
      {"GET", work, 200, 200, 403},
      {"POST", work, 200, 403, 403},
      {"POST", work + "/ack", 403, 409, 200},
      {"POST", work + "/heartbeat?expected_last_heartbeat=x", 403, 412, 412},
      {"POST", work_path("/work_none/stop"), 404, 404, 404},
      {"GET", "/glovebox/v1/status", 200, 403, 403},
      {"GET", "/glovebox/v1/credential", 200, 200, 200},
      {"GET", str("/glovebox/v1/environments/", environment_, "/keys"), 200, 403, 403},
      {"POST", str("/glovebox/", session.substr(1), "/errors"), 403, 400, 400},
      {"GET", str("/glovebox/", session.substr(1), "/files/file_1/content"), 403, 404, 404},
      {"POST", "/glovebox/v1/prune", 400, 403, 403},
      {"GET", "/metrics", 200, 403, 403},
      {"GET", "/healthz", 200, 200, 200},
  };
  for (const Line& line : table) {
    const std::string what = line.method + " " + line.target;
    EXPECT_EQ(call(line.method, line.target, "", kApi).status, line.api) << what;
    EXPECT_EQ(call(line.method, line.target, "", kEnv).status, line.environment) << what;
    EXPECT_EQ(call(line.method, line.target, "", claimed.token).status, line.token) << what;
    if (line.target == "/healthz") continue;
    EXPECT_EQ(call(line.method, line.target, "", "").status, 401) << what;
    EXPECT_EQ(call(line.method, line.target, "", kMetrics).status,
              line.target == "/metrics" ? 200 : 403)
        << what;
  }
}

TEST_F(Served, WhatIsSomebodyElsesIsNotThere) {
  const Claimed mine = claim(), theirs = claim();
  const std::string elsewhere = make("/v1/environments", R"({"name":"elsewhere"})");
  const std::string key =
      post(str("/glovebox/v1/environments/", elsewhere, "/keys"), R"({"name":"k"})").text("/key");
  EXPECT_TRUE(key.starts_with("gb-env-"));
  for (const auto& credential : {mine.token, key})
    for (std::string rest : {"", "/events", "/events/stream"})
      EXPECT_EQ(get("/v1/sessions/" + theirs.session + rest, credential).status, 404) << rest;
  EXPECT_EQ(post(work_path("/" + theirs.work + "/stop"), "", mine.token).status, 404);
  EXPECT_EQ(post(work_path("/" + theirs.work + "/stop"), "", key).status, 404);
  EXPECT_EQ(get(work_path("/poll"), key).status, 404);
  EXPECT_EQ(get(str("/v1/environments/", elsewhere, "/work/poll"), key).body, json::value(nullptr));
}

TEST_F(Served, RevokedKeyIsOutAtOnceAndItsTokensLiveOn) {
  const std::string keys = str("/glovebox/v1/environments/", environment_, "/keys");
  auto made = post(keys, R"({"name":"second"})");
  EXPECT_EQ(made.text("/type"), "environment_key");
  EXPECT_EQ(get(work_path("/poll"), made.text("/key")).status, 200);
  const Claimed claimed = claim();
  EXPECT_EQ(call("DELETE", keys + "/" + made.text("/id")).text("/type"), "environment_key_revoked");
  EXPECT_EQ(get(work_path("/poll"), made.text("/key")).status, 401);
  EXPECT_EQ(get("/v1/sessions/" + claimed.session, claimed.token).status, 200);
  auto listed = get(keys);
  EXPECT_FALSE(json::serialize(listed.body).contains(made.text("/key")));
  EXPECT_NE(listed.text("/data/1/revoked_at"), "null");
  EXPECT_EQ(call("DELETE", keys + "/" + listed.text("/data/0/id")).status,
            400);  // the embedded one
}

TEST_F(Served, ErrorsHaveTheEnvelopeWhereverTheyComeFrom) {
  struct Line {
    Answer answer;
    int status;
    std::string type;
  };
  const std::vector<Line> table = {
      {get("/v1/agents/agent_none"), 404, "not_found_error"},
      {get("/nothing"), 404, "not_found_error"},
      {call("PUT", "/v1/agents"), 405, "invalid_request_error"},
      {post("/v1/agents", "{"), 400, "invalid_request_error"},
      {post("/v1/environments", R"({"name":"default"})"), 409, "conflict_error"},
      {post("/v1/environments", std::string(100'000, ' ')), 413, "request_too_large"},
      {get("/v1/agents", ""), 401, "authentication_error"},
      {get("/v1/agents", kEnv), 403, "permission_error"},
  };
  for (const auto& [answer, status, type] : table) {
    EXPECT_EQ(answer.status, status);
    EXPECT_EQ(answer.text("/type"), "error");
    EXPECT_EQ(answer.error(), type);
    EXPECT_NE(answer.text("/error/message"), "(none)");
    EXPECT_EQ(answer.text("/error/details"), "(none)");
    EXPECT_EQ(answer.text("/request_id"), answer.headers.get("request-id"));
    EXPECT_TRUE(answer.text("/request_id").starts_with("req_"));
    EXPECT_EQ(answer.headers.get("Content-Type"), "application/json");
    EXPECT_EQ(answer.headers.get("x-should-retry").value_or(""), status == 409 ? "false" : "");
  }
}

TEST_F(Served, CodesThatClientsKnowStandInTheDetails) {
  const std::string id = make("/v1/environments", R"({"name":"old"})");
  EXPECT_EQ(post("/v1/environments/" + id, R"({"config":{"type":"cloud"}})")
                .text("/error/details/error_code"),
            "invalid_config_type_change");
  EXPECT_EQ(post(str("/v1/environments/", id, "/archive")).status, 200);
  EXPECT_EQ(post("/v1/environments/" + id, R"({"name":"x"})").text("/error/details/error_code"),
            "environment_archived");
  EXPECT_EQ(get("/v1/environments/env_none").text("/error/details/error_code"),
            "environment_not_found");
  EXPECT_EQ(post("/v1/agents", R"({"name":"a"})").text("/error/details/error_code"),
            "agent_model_required");
  EXPECT_EQ(post("/v1/agents", R"({"name":"a","model":"m","metadata":1})")
                .text("/error/details/error_code"),
            "invalid_metadata");
}

TEST_F(Served, UpdateThatChangesNothingMakesNoVersion) {
  const std::string id = make("/v1/agents", R"({"name":"a","model":"m","system":"s"})"),
                    path = "/v1/agents/" + id;
  EXPECT_EQ(post(path, R"({"system":"s"})").text("/version"), "1");
  EXPECT_EQ(post(path, R"({"version":1,"system":"t"})").text("/version"), "2");
  EXPECT_EQ(post(path, R"({"version":1,"system":"t"})").status, 409);
  EXPECT_EQ(get(path + "?version=1").text("/system"), "s");
  EXPECT_EQ(get(path + "?version=3").status, 404);
  EXPECT_EQ(get(path + "/versions").body.at("data").as_array().size(), 2u);
  EXPECT_NE(post(path + "/archive").text("/archived_at"), "null");
  EXPECT_EQ(post(path, R"({"system":"u"})").status, 400);
  EXPECT_EQ(post("/v1/sessions",
                 str(R"({"agent":")", id, R"(","environment_id":")", environment_, R"("})"))
                .status,
            400);
}

TEST_F(Served, SessionKeepsTheAgentItWasMadeWith) {
  const std::string id =
      make("/v1/agents",
           R"({"name":"a","model":"m","system":"s","tools":[{"type":"agent_toolset_20260401"}]})");
  auto with = [&](std::string agent) {
    return post("/v1/sessions",
                str(R"({"agent":)", agent, R"(,"environment_id":")", environment_, R"("})"));
  };
  auto plain = with(str('"', id, '"'));
  post("/v1/agents/" + id, R"({"system":"changed"})");
  EXPECT_EQ(get("/v1/sessions/" + plain.text("/id")).text("/agent/system"), "s");
  EXPECT_EQ(with(str(R"({"type":"agent","id":")", id, R"(","version":1})")).text("/agent/system"),
            "s");
  EXPECT_EQ(with(str(R"({"type":"agent","id":")", id, R"("})")).text("/agent/version"), "2");
  auto other = with(
      str(R"({"type":"agent_with_overrides","id":")", id, R"(","system":"mine","tools":null})"));
  EXPECT_EQ(other.text("/agent/system"), "mine");
  EXPECT_EQ(other.text("/agent/tools"), "[]");
  EXPECT_EQ(other.text("/agent/model/id"), "m");
  EXPECT_EQ(other.text("/status"), "idle");
  for (std::string pointer : {"/resources", "/vault_ids", "/outcome_evaluations", "/agent/skills"})
    EXPECT_EQ(other.text(pointer), "[]") << pointer;
}

TEST_F(Served, WhatASessionCannotHaveIsRefusedByName) {
  const std::pair<std::string, std::string> table[] = {
      {R"("resources":[{"type":"file","file_id":"f"}])",
       "resources[0].type: file resources are not supported with self-hosted environments"},
      {R"("resources":[{"type":"memory_store"}])", "resources[0].memory_store_id: is required"},
      {R"("vault_ids":["v"])", "vault_ids: vaults are not supported by this server"},
      {R"("budget":{})", "budget: budgets are not supported by this server"},
      {R"("initial_events":{})", "initial_events: must be an array"},
  };
  for (const auto& [member, what] : table)
    EXPECT_EQ(post("/v1/sessions", str(R"({"agent":")", agent_, R"(","environment_id":")",
                                       environment_, R"(",)", member, '}'))
                  .text("/error/message"),
              what);
}

TEST_F(Served, SessionListGoesBothWays) {
  std::vector<std::string> made;
  for (int i = 0; i < 5; ++i) made.push_back(make_session());
  auto page = get("/v1/sessions?limit=2");
  EXPECT_EQ(page.text("/data/0/id"), made[4]);
  EXPECT_EQ(page.text("/prev_page"), "null");
  auto second = get("/v1/sessions?limit=2&page=" + page.text("/next_page"));
  EXPECT_EQ(second.text("/data/0/id"), made[2]);
  auto third = get("/v1/sessions?limit=2&page=" + second.text("/next_page"));
  EXPECT_EQ(third.text("/data/0/id"), made[0]);
  EXPECT_EQ(third.text("/next_page"), "null");
  auto back = get("/v1/sessions?limit=2&page=" + third.text("/prev_page"));
  EXPECT_EQ(back.body.at("data"), second.body.at("data"));
  auto first = get("/v1/sessions?limit=2&page=" + back.text("/prev_page"));
  EXPECT_EQ(first.body.at("data"), page.body.at("data"));
  EXPECT_EQ(first.text("/prev_page"), "null");
  EXPECT_EQ(get("/v1/sessions?order=asc&page=" + page.text("/next_page")).status, 400);
  EXPECT_EQ(get("/v1/sessions?deployment_id=depl_1").text("/data"), "[]");
  EXPECT_EQ(get("/v1/sessions?statuses[]=running").text("/data"), "[]");
}

TEST_F(Served, EventPagesAreTheWholeWhateverTheirSize) {
  const std::string events = "/v1/sessions/" + claim().session + "/events";
  auto whole = get(events);
  ASSERT_EQ(whole.text("/next_page"), "null");
  const std::size_t count = whole.body.at("data").as_array().size();
  ASSERT_GT(count, 5u);
  for (std::string order : {"asc", "desc"})
    for (std::size_t limit : {std::size_t{1}, std::size_t{2}, count - 1, count}) {
      json::array all;
      std::string page;
      do {
        auto answer = get(
            str(events, "?order=", order, "&limit=", limit, page.empty() ? "" : "&page=", page));
        for (auto& event : answer.body.at("data").as_array()) all.push_back(event);
        EXPECT_FALSE(answer.body.at("data").as_array().empty());
        page = answer.text("/next_page");
      } while (page != "null");
      if (order == "desc") std::reverse(all.begin(), all.end());
      EXPECT_EQ(json::value(all), whole.body.at("data")) << order << limit;
    }
  EXPECT_EQ(get(events + "?types%5B%5D=user.message&types[]=agent.tool_use")
                .body.at("data")
                .as_array()
                .size(),
            2u);
}

TEST_F(Served, SessionIsUpdatedInPlace) {
  const std::string path =
      "/v1/sessions/" + make_session(R"(,"title":"t","metadata":{"a":"1","b":"2"})");
  auto updated = post(path, R"({"title":null,"metadata":{"a":null,"c":"3"}})");
  EXPECT_EQ(updated.text("/title"), "null");
  EXPECT_EQ(updated.text("/metadata"), R"({"b":"2","c":"3"})");
  EXPECT_EQ(get(path + "/events").text("/data/0/type"), "session.updated");
  EXPECT_EQ(post(path, "{}").status, 200);
  EXPECT_EQ(get(path + "/events").body.at("data").as_array().size(), 1u);  // nothing changed
  EXPECT_EQ(post(path, R"({"agent":{"tools":[]}})").text("/agent/tools"), "[]");
  EXPECT_EQ(post(path, R"({"agent":{"system":"x"}})").status, 400);
  EXPECT_EQ(post(path, R"({"budget":{"type":"limit"}})").text("/error/details/error_code"),
            "budget_create_only");
}

TEST_F(Served, ThreadsListHasThePrimaryOne) {
  const std::string session = make_session(), path = str("/v1/sessions/", session, "/threads");
  auto listed = get(path);
  EXPECT_EQ(listed.text("/data/0/session_id"), session);
  EXPECT_EQ(listed.text("/data/0/parent_thread_id"), "null");
  const std::string thread = listed.text("/data/0/id");
  EXPECT_EQ(get(str(path, '/', thread)).text("/id"), thread);
  EXPECT_EQ(get(str(path, '/', thread, "/events")).text("/data"), "[]");
  EXPECT_EQ(get(path + "/sthr_none").status, 404);
  EXPECT_EQ(get(path + "?statuses[]=running").text("/data"), "[]");
}

TEST_F(Served, EnvironmentWithSessionsIsNotDeleted) {
  const std::string id = make("/v1/environments", R"({"name":"short"})");
  const std::string session =
      make("/v1/sessions", str(R"({"agent":")", agent_, R"(","environment_id":")", id, R"("})"));
  EXPECT_EQ(call("DELETE", "/v1/environments/" + id).status, 409);
  EXPECT_EQ(call("DELETE", "/v1/sessions/" + session).text("/type"), "session_deleted");
  EXPECT_EQ(call("DELETE", "/v1/environments/" + id).text("/type"), "environment_deleted");
  EXPECT_EQ(get("/v1/environments/" + id).status, 404);
}

TEST_F(Served, RefusedHeartbeatSaysHowThingsStand) {
  const Claimed claimed = claim();
  const std::string beat = work_path("/" + claimed.work + "/heartbeat?expected_last_heartbeat=");
  auto first = post(beat + "NO_HEARTBEAT", "", claimed.token);
  EXPECT_EQ(first.text("/type"), "work_heartbeat");
  EXPECT_EQ(first.text("/lease_extended"), "true");
  EXPECT_EQ(first.text("/ttl_seconds"), "300");
  auto second = post(beat + "NO_HEARTBEAT", "", claimed.token);
  EXPECT_EQ(second.status, 412);
  EXPECT_EQ(second.text("/error/details/error_code"), "heartbeat_precondition_failed");
  EXPECT_EQ(second.text("/error/details/current_state/last_heartbeat"),
            first.text("/last_heartbeat"));
  EXPECT_EQ(second.text("/error/details/current_state/state"), "active");
  EXPECT_EQ(second.text("/error/details/current_state/lease_extended"), "false");
  EXPECT_TRUE(second.headers.get("request-id"));
  EXPECT_EQ(post(beat, "", claimed.token).status, 412);  // an empty value is a wrong one
}

TEST_F(Served, OnlyTheNewestTokenPostsEvents) {
  const Claimed old = claim();
  auto again = get(work_path("/poll?reclaim_older_than_ms=0"), kEnv);  // acked: not handed out
  EXPECT_EQ(again.body, json::value(nullptr));
  EXPECT_EQ(post(work_path("/" + old.work + "/stop"), R"({"force":true})").text("/state"),
            "stopped");
  Answer work;
  for (int i = 0; i < 50 && work.text("/id") == "(none)"; ++i)
    work = get(work_path("/poll?block_ms=100"), kEnv);
  EXPECT_EQ(work.text("/data/id"), old.session);
  const std::string token(
      json::parse(*unbase64url(work.text("/secret"))).at("sessions_token").as_string());
  const std::string path = str("/v1/sessions/", old.session, "/events");
  EXPECT_EQ(get(path, old.token).status, 200);
  const std::string call_id = get(path + "?types[]=agent.tool_use").text("/data/0/id");
  const std::string result =
      str(R"({"events":[{"type":"user.tool_result","tool_use_id":")", call_id, R"("}]})");
  EXPECT_EQ(post(path, result, old.token).status, 403);
  EXPECT_EQ(post(path, result, token).text("/data/0/tool_use_id"), call_id);
}

TEST_F(Served, OwnEndpointsRefuseWhatTheyDoNotKnow) {
  EXPECT_EQ(
      post("/glovebox/v1/prune", R"({"older_than_secs":1,"dry":true})").text("/error/message"),
      "there is no member dry");
  EXPECT_EQ(
      post(str("/glovebox/v1/environments/", environment_, "/keys"), R"({"colour":1})").status,
      400);
  EXPECT_EQ(post("/v1/agents", R"({"name":"a","model":"m","tomorrow":1})").status, 200);
}

TEST_F(Served, PruneTakesWhatIsOverAndOld) {
  const std::string over = make_session(), waits = claim().session;
  EXPECT_EQ(post("/glovebox/v1/prune", R"({"older_than_secs":3600})").text("/sessions_removed"),
            "0");
  Answer pruned;
  for (int i = 0; i < 1000 && pruned.text("/sessions_removed") != "1"; ++i)
    pruned = post("/glovebox/v1/prune", R"({"older_than_secs":0})");
  EXPECT_EQ(pruned.text("/sessions_removed"), "1");
  EXPECT_EQ(get("/v1/sessions/" + over).status, 404);
  EXPECT_EQ(get("/v1/sessions/" + waits).status, 200);
}

TEST_F(Served, MetricsCountWhatIsThere) {
  claim();
  EXPECT_TRUE(metrics_body().contains("\nbrain_sessions 1\n"));
  EXPECT_TRUE(metrics_body().contains("\nbrain_work_held 1\n"));
}

}  // namespace glovebox::brain

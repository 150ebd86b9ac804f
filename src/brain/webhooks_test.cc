#include "brain/webhooks.h"

#include <deque>

#include "brain/served.h"
#include "brain/sqlite_store.h"
#include "wire/webhook.h"

namespace glovebox::brain {
namespace {

struct Received {
  std::string id, timestamp, signature, body;
  json::value parsed() const { return json::parse(body); }
  std::string type() const { return std::string(parsed().at_pointer("/data/type").as_string()); }
};

// An endpoint on loopback that answers with the next of `statuses`, then with 204.
struct Receiver {
  explicit Receiver(net::Loop& loop) : server(loop, routes(), {}) {
    auto at = server.listen(net::Address{.host = "127.0.0.1"});
    EXPECT_TRUE(at);
    url = str("http://127.0.0.1:", at->port, "/hooks?x=1");
  }
  std::vector<http::Route> routes() {
    http::Route route;
    route.method = "POST";
    route.pattern = "/hooks";
    route.body = http::Body::whole;
    route.body_limit = 65536;
    route.handler = [this](http::Request request) { return take(std::move(request)); };
    std::vector<http::Route> all;
    all.push_back(std::move(route));
    return all;
  }
  Task<http::Response> take(http::Request request) {
    EXPECT_EQ(request.query, "x=1");
    got.push_back({std::string(request.headers.get("webhook-id").value_or("")),
                   std::string(request.headers.get("webhook-timestamp").value_or("")),
                   std::string(request.headers.get("webhook-signature").value_or("")),
                   request.body});
    if (silent) CO_TRY_DO(co_await net::sleep(3600s));
    int status = 204;
    if (!statuses.empty()) {
      status = statuses.front();
      statuses.pop_front();
    }
    auto response = http::text(status, "");
    if (status / 100 == 3) response.headers.set("Location", url);
    co_return response;
  }
  std::vector<std::string> types() const {
    std::vector<std::string> all;
    for (const auto& one : got) all.push_back(one.type());
    return all;
  }

  std::deque<int> statuses;
  std::vector<Received> got;
  bool silent = false;
  std::string url;
  http::Server server;
};

class Hooks : public testing::Test {
 protected:
  Hooks() { EXPECT_TRUE(start()); }
  ~Hooks() override {
    stop();
    run(receiver.server.drain(1ms));
  }

  Result<void> start() {
    webhooks = std::make_unique<Webhooks>(loop, *store, *store, Seal(Secret(std::string(32, 'k'))),
                                          "test", options);
    return webhooks->open();
  }
  void stop() {
    run(webhooks->close(5s));
    webhooks.reset();
  }
  std::string endpoint(std::string url, std::vector<std::string> events = {"*"}) {
    WebhookRow row{.url = std::move(url), .events = std::move(events)};
    auto secret = webhooks->add(row);
    EXPECT_TRUE(secret);
    key = *wire::webhook_key(*secret);
    return row.id;
  }
  void run(Task<void> task) {
    auto ran = net::run(loop, std::move(task));
    EXPECT_TRUE(ran) << ran.error().what;
  }
  static Task<void> wait_for(std::function<bool()> done) {
    for (int i = 0; i < 2000 && !done(); ++i) CO_TRY_DO(co_await net::sleep(5ms));
    if (!done()) co_return Error{Code::timeout, "it did not come to pass"};
    co_return ok;
  }
  void until(std::function<bool()> done) { run(wait_for(std::move(done))); }
  DeliveryRow last(const std::string& webhook) {
    auto rows = store->deliveries(webhook, {.limit = 1});
    EXPECT_TRUE(rows && rows->size() == 1);
    return rows && !rows->empty() ? rows->front().row : DeliveryRow{};
  }
  WebhookRow row(const std::string& webhook) { return store->webhook(webhook).value(); }

  net::Loop loop;
  std::unique_ptr<SqliteStore> store = std::move(*SqliteStore::open(":memory:"));
  WebhookOptions options{.allow_private = true, .waits = {1ms, 1ms}, .answer_limit = 5s};
  std::unique_ptr<Webhooks> webhooks;
  Receiver receiver{loop};
  Secret key;
};

TEST_F(Hooks, ADeliveryIsSignedAndNamesWhatHappened) {
  endpoint(receiver.url);
  ASSERT_TRUE(webhooks->announce("session.status_idled", "sesn_1", R"("session_thread_id":"t")"));
  until([&] { return !receiver.got.empty(); });
  const Received& one = receiver.got[0];
  EXPECT_TRUE(wire::verify_webhook({&key, 1}, {one.id, one.timestamp, one.signature}, one.body,
                                   now_us() / 1'000'000));
  auto body = one.parsed();
  EXPECT_EQ(body.at("type"), "event");
  EXPECT_EQ(body.at("id"), one.id.c_str());
  EXPECT_EQ(body.at_pointer("/data/id"), "sesn_1");
  EXPECT_EQ(body.at_pointer("/data/type"), "session.status_idled");
  EXPECT_EQ(body.at_pointer("/data/session_thread_id"), "t");
  EXPECT_EQ(body.at_pointer("/data/workspace_id"), "wrkspc_test");
}

// A port of a sandbox behind our own ingress, as the rules for endpoints see it.
TEST_F(Hooks, NamesOfOurOwnIngressMayBeEndpoints) {
  stop();
  options = {.own_domain = "glovebox.localhost", .own_port = 9443};
  ASSERT_TRUE(start());
  EXPECT_TRUE(webhooks->check_url("https://5051-hook.glovebox.localhost:9443/x"));
  EXPECT_TRUE(webhooks->check_url("https://5051-hook.Glovebox.LocalHost:9443/"));
  for (auto url :
       {"http://5051-hook.glovebox.localhost:9443/", "https://5051-hook.glovebox.localhost:9444/",
        "https://glovebox.localhost:9443/", "https://evilglovebox.localhost:9443/",
        "https://localhost:9443/", "https://x.glovebox.localhost.example.org:9443/"})
    EXPECT_FALSE(webhooks->check_url(url)) << url;
}

TEST_F(Hooks, OnlyWhatIsWantedIsTold) {
  endpoint(receiver.url, {"agent.created", "session.created"});
  for (auto type : {"agent.updated", "agent.created", "session.deleted", "session.created"})
    ASSERT_TRUE(webhooks->announce(type, "x"));
  until([&] { return receiver.got.size() >= 2; });
  auto types = receiver.types();
  std::ranges::sort(types);
  EXPECT_EQ(types, (std::vector<std::string>{"agent.created", "session.created"}));
}

TEST_F(Hooks, WhatFailsIsTriedAgainWithTheSameId) {
  auto id = endpoint(receiver.url);
  receiver.statuses = {500, 404};
  ASSERT_TRUE(webhooks->announce("agent.created", "x"));
  until([&] { return receiver.got.size() == 3 && last(id).delivered_at; });
  EXPECT_EQ(receiver.got[0].id, receiver.got[2].id);
  EXPECT_EQ(receiver.got[0].body, receiver.got[2].body);
  EXPECT_EQ(last(id).attempts, 3);
  EXPECT_EQ(row(id).failing_since, 0);
}

TEST_F(Hooks, AfterThreeAttemptsItIsDroppedForGood) {
  auto id = endpoint(receiver.url);
  receiver.statuses = {500, 500, 500};
  ASSERT_TRUE(webhooks->announce("agent.created", "x"));
  until([&] { return last(id).due_at == 0; });
  EXPECT_EQ(receiver.got.size(), 3u);
  EXPECT_EQ(last(id).delivered_at, 0);
  EXPECT_EQ(last(id).status, 500);
  EXPECT_NE(row(id).failing_since, 0);
  EXPECT_TRUE(row(id).enabled);
}

TEST_F(Hooks, ReplayBeginsAnew) {
  auto id = endpoint(receiver.url);
  receiver.statuses = {500, 500, 500};
  ASSERT_TRUE(webhooks->announce("agent.created", "x"));
  until([&] { return last(id).due_at == 0; });
  EXPECT_EQ(webhooks->replay(id, "wevt_other").error().code, Code::not_found);
  ASSERT_TRUE(webhooks->replay(id, last(id).event_id));
  until([&] { return last(id).delivered_at != 0; });
  EXPECT_EQ(receiver.got.size(), 4u);
  EXPECT_EQ(receiver.got[0].id, receiver.got[3].id);
}

TEST_F(Hooks, ARedirectDisablesAndIsNotFollowed) {
  auto id = endpoint(receiver.url);
  receiver.statuses = {307};
  ASSERT_TRUE(webhooks->announce("agent.created", "x"));
  ASSERT_TRUE(webhooks->announce("agent.updated", "x"));
  until([&] { return !row(id).enabled; });
  EXPECT_EQ(row(id).disabled_reason, "it redirects");
  EXPECT_LE(receiver.got.size(), 2u);
  // While it is disabled nothing is owed, and what happens then is never told.
  ASSERT_TRUE(webhooks->announce("agent.archived", "x"));
  EXPECT_EQ(store->owed_deliveries(id, 10)->size(), 0u);
  EXPECT_NE(last(id).type, "agent.archived");
}

TEST_F(Hooks, AnAddressThatIsNotPublicDisables) {
  stop();
  options.allow_private = false;
  ASSERT_TRUE(start());
  EXPECT_FALSE(webhooks->check_url(receiver.url));
  auto id = endpoint(receiver.url);  // as if its name had led elsewhere before
  ASSERT_TRUE(webhooks->announce("agent.created", "x"));
  until([&] { return !row(id).enabled; });
  EXPECT_EQ(receiver.got.size(), 0u);
  EXPECT_EQ(row(id).disabled_reason, "its name leads to an address that is not public");
}

TEST_F(Hooks, LongUnbrokenFailureDisables) {
  stop();
  options.give_up_after = 0;
  ASSERT_TRUE(start());
  auto id = endpoint(receiver.url);
  receiver.statuses = {500, 500, 500};
  ASSERT_TRUE(webhooks->announce("agent.created", "x"));
  until([&] { return !row(id).enabled; });
  EXPECT_EQ(row(id).disabled_reason, "it failed for too long");
}

TEST_F(Hooks, WhatIsOwedOutlivesTheBrain) {
  auto id = endpoint(receiver.url);
  stop();
  ASSERT_TRUE(store->add_delivery({.webhook_id = id,
                                   .event_id = "wevt_1",
                                   .type = "agent.created",
                                   .body = R"({"data":{"type":"agent.created"}})",
                                   .created_at = now_us(),
                                   .due_at = now_us()}));
  ASSERT_TRUE(start());
  until([&] { return last(id).delivered_at != 0; });
  EXPECT_EQ(receiver.got.size(), 1u);
}

TEST_F(Hooks, AnUndoneChangeOwesNothing) {
  auto id = endpoint(receiver.url);
  auto undone = store->atomically([&]() -> Result<void> {
    TRY_DO(webhooks->announce("agent.created", "x"));
    return Error{Code::conflict, "no"};
  });
  EXPECT_FALSE(undone);
  EXPECT_EQ(store->owed_deliveries(id, 10)->size(), 0u);
}

TEST_F(Hooks, ASilentEndpointHoldsUpNobody) {
  Receiver slow(loop);
  slow.silent = true;
  endpoint(slow.url);
  endpoint(receiver.url);
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(webhooks->announce("agent.created", str("x", i)));
  until([&] { return receiver.got.size() == 30; });
  EXPECT_LE(slow.got.size(), 8u);
  stop();
  EXPECT_TRUE(start());
  run(slow.server.drain(1ms));
}

TEST_F(Hooks, ARemovedEndpointIsForgottenInTheMiddle) {
  receiver.silent = true;
  auto id = endpoint(receiver.url);
  ASSERT_TRUE(webhooks->announce("agent.created", "x"));
  until([&] { return !receiver.got.empty(); });
  ASSERT_TRUE(webhooks->remove(id));
  EXPECT_EQ(store->webhook(id).error().code, Code::not_found);
  EXPECT_EQ(store->deliveries(id, {})->size(), 0u);
}

TEST_F(Hooks, OnlyPublicHttpsIsTaken) {
  stop();
  options.allow_private = false;
  ASSERT_TRUE(start());
  EXPECT_TRUE(webhooks->check_url("https://example.com/hooks?x=1"));
  for (auto url : {"http://example.com/", "https://example.com:8443/", "https://127.0.0.1/",
                   "https://localhost/", "https://[::1]/", "https://8.8.8.8/", "ftp://example.com/",
                   "unix:/run/x", "https://user:pass@example.com/", "https://example.com/#x", "",
                   "example.com"})
    EXPECT_FALSE(webhooks->check_url(url)) << url;
}

TEST(Seal, OpensOnlyWithItsKeyAndAtItsPlace) {
  Seal seal(Secret(std::string(32, 'a'))), other(Secret(std::string(32, 'b')));
  auto sealed = seal.close(Secret("word"), "here").value();
  EXPECT_FALSE(sealed.contains("word"));
  EXPECT_NE(sealed, seal.close(Secret("word"), "here").value());
  EXPECT_EQ(seal.reveal(sealed, "here")->reveal(), "word");
  EXPECT_FALSE(seal.reveal(sealed, "there"));
  EXPECT_FALSE(other.reveal(sealed, "here"));
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    std::string bent = sealed;
    bent[i] = bent[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(seal.reveal(bent, "here")) << i;
  }
  EXPECT_FALSE(seal.reveal("", "here"));
  EXPECT_FALSE(Seal(Secret("short")).close(Secret("word"), "here"));
}

struct WebhookApi : Served {
  static inline const std::string kPath = "/v1/organizations/webhooks";
  Answer add(std::string more = "") {
    return post(kPath, str(R"({"url":"https://example.com/h","enabled_events":["session.created"])",
                           more, '}'));
  }
};

TEST_F(WebhookApi, TheSecretIsShownOnce) {
  auto made = add(R"(,"name":"n","description":"d")");
  ASSERT_EQ(made.status, 200) << json::serialize(made.body);
  std::string secret = made.text("/signing_secret"), id = made.text("/id");
  EXPECT_TRUE(wire::webhook_key(secret));
  EXPECT_EQ(made.text("/state"), "enabled");
  EXPECT_EQ(get(kPath + "/" + id).text("/signing_secret"), "(none)");
  EXPECT_EQ(get(kPath).text("/data/0/signing_secret"), "(none)");
  auto exchanged = post(kPath + "/" + id + "/regenerate_signing_secret");
  EXPECT_TRUE(wire::webhook_key(exchanged.text("/signing_secret")));
  EXPECT_NE(exchanged.text("/signing_secret"), secret);
}

TEST_F(WebhookApi, AnUpdateChangesWhatItNames) {
  auto id = add().text("/id");
  auto changed = post(kPath + "/" + id, R"({"name":"new","enabled_events":[]})");
  EXPECT_EQ(changed.text("/name"), "new");
  EXPECT_EQ(changed.text("/enabled_events"), R"(["session.created"])");
  EXPECT_EQ(post(kPath + "/" + id, R"({"state":"disabled"})").text("/state"), "disabled");
  EXPECT_EQ(get(kPath + "/" + id).text("/state"), "disabled");
  EXPECT_EQ(call("DELETE", kPath + "/" + id).text("/type"), "webhook_endpoint_deleted");
  EXPECT_EQ(get(kPath + "/" + id).status, 404);
}

TEST_F(WebhookApi, WrongOnesAreRefused) {
  for (auto body : {"{}", R"({"url":"https://example.com/"})",
                    R"({"url":"https://e.com/","enabled_events":[]})",
                    R"({"url":"https://e.com/","enabled_events":["nothing"]})",
                    R"({"url":"https://e.com/","enabled_events":"*"})",
                    R"({"url":"http://e.com/","enabled_events":["*"]})",
                    R"({"url":"https://10.0.0.1/","enabled_events":["*"]})",
                    R"({"url":"https://e.com/","enabled_events":["*"],"state":"asleep"})"})
    EXPECT_EQ(post(kPath, body).status, 400) << body;
  EXPECT_EQ(post(kPath, R"({"url":"https://e.com/","enabled_events":["*"]})", kEnv).status, 403);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(add().status, 200);
  EXPECT_EQ(add().status, 400);
}

TEST_F(WebhookApi, PagesByIds) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(add().text("/id"));
  auto page = get(kPath + "?limit=2");
  EXPECT_EQ(page.text("/has_more"), "true");
  EXPECT_EQ(page.text("/first_id"), ids[4]);
  EXPECT_EQ(page.text("/last_id"), ids[3]);
  page = get(kPath + "?limit=3&after_id=" + ids[3]);
  EXPECT_EQ(page.text("/has_more"), "false");
  EXPECT_EQ(page.text("/last_id"), ids[0]);
  page = get(kPath + "?limit=2&before_id=" + ids[0]);
  EXPECT_EQ(page.text("/first_id"), ids[2]);
  EXPECT_EQ(page.text("/last_id"), ids[1]);
  EXPECT_EQ(get(kPath + "?order=asc").text("/first_id"), ids[0]);
  EXPECT_EQ(get(kPath + "?after_id=whep_x").status, 400);
}

struct PrivateWebhooks : Served {
  PrivateWebhooks() : Served("", true) {}
};

TEST_F(PrivateWebhooks, ASessionsLifeIsTold) {
  // Nobody is there: what is owed is what counts.
  auto id = make(WebhookApi::kPath, R"({"url":"http://127.0.0.1:1/","enabled_events":["*"]})");
  auto session = make_session(
      R"(,"initial_events":[{"type":"user.message","content":[{"type":"text","text":"hello"}]}])");
  for (int i = 0; i < 500 && get("/v1/sessions/" + session).text("/status") != "idle"; ++i)
    run(net::sleep(5ms));
  EXPECT_EQ(post("/v1/sessions/" + session, R"({"title":"t"})").status, 200);
  EXPECT_EQ(post("/v1/sessions/" + session + "/archive").status, 200);
  EXPECT_EQ(call("DELETE", "/v1/sessions/" + session).status, 200);
  make("/v1/agents", R"({"name":"a","model":"m"})");
  auto told = get("/glovebox/v1/webhooks/" + id + "/deliveries?limit=100");
  std::vector<std::string> types;
  for (const auto& one : told.body.at("data").as_array())
    types.emplace_back(one.at("event_type").as_string());
  std::ranges::reverse(types);
  EXPECT_EQ(types, (std::vector<std::string>{"session.created", "session.status_run_started",
                                             "session.status_idled", "session.updated",
                                             "session.status_terminated", "session.archived",
                                             "session.deleted", "agent.created"}));
}

}  // namespace
}  // namespace glovebox::brain

#include "http/server.h"

#include "base/metrics.h"
#include "http/test_server.h"

namespace glovebox::http {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

std::string get(std::string target, std::string headers = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
}
const std::string kClose = "Connection: close\r\n";

Task<Response> show(Request request) {
  co_return text(200, str(request.method, " ", request.path, " ?", request.query,
                          " id=", request.param("id")));
}
Task<Response> echo(Request request) { co_return text(200, request.body); }
Task<Response> fail(Request) { co_return Error{Code::conflict, "not now", "BUSY"}; }
Task<Response> fail_as_response(Request) {
  co_return error_response(Error{Code::gone, "was here"});
}
Task<Response> throw_it(Request) {
  throw std::runtime_error("secret detail");
  co_return empty(204);
}
Task<Response> split_header(Request) {
  Response response = text(200, "x");
  response.headers.add("X-From", "outside\r\nSet-Cookie: evil");
  co_return response;
}
Task<Response> nothing(Request) { co_return empty(204); }

// --- Answers

TEST(Server, AnswersAndKeepsTheConnection) {
  TestServer test({{"GET", "/boxes/{id}", Body::none, show}});
  std::string answer = test.say(get("/boxes/a%20b?x=y") + get("///boxes/2", kClose));  // pipelined
  EXPECT_EQ(count(answer, "HTTP/1.1 200 OK\r\n"), 2u);
  EXPECT_THAT(answer, HasSubstr("GET /boxes/a%20b ?x=y id=a b"));
  EXPECT_THAT(answer, EndsWith("GET /boxes/2 ? id=2"));
  EXPECT_EQ(count(answer, "Connection: close"), 1u);
}

TEST(Server, ManyPipelinedRequestsAreAnsweredInOrder) {
  TestServer test({{"POST", "/{id}", Body::whole, echo}});
  std::string requests, expected;
  for (int i = 0; i < 500; ++i) {
    std::string body = str("body ", i, ";");
    requests +=
        str("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
    expected += body;
  }
  std::string answer = test.say(requests + get("/", kClose));
  std::string bodies;
  for (auto at = answer.find("body "); at != answer.npos; at = answer.find("body ", at + 1))
    bodies += answer.substr(at, answer.find(';', at) + 1 - at);
  EXPECT_EQ(bodies, expected);
}

TEST(Server, UnknownPathIs404AndKnownPathIs405) {
  TestServer test({{"GET", "/a", Body::none, show}, {"DELETE", "/a", Body::none, show}});
  std::string answer = test.say(get("/b", kClose));
  EXPECT_EQ(status(answer), 404);
  EXPECT_THAT(body(answer), HasSubstr(R"("code":"NOT_FOUND")"));
  answer = test.say("POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(status(answer), 405);
  EXPECT_THAT(answer, HasSubstr("\r\nAllow: DELETE, GET, HEAD\r\n"));
  EXPECT_THAT(body(answer), HasSubstr(R"("code":"METHOD_NOT_ALLOWED")"));
}

TEST(Server, HeadIsGetWithoutTheBody) {
  TestServer test({{"GET", "/a", Body::none, show}});
  std::string answer = test.say("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n" + get("/a", kClose));
  EXPECT_EQ(count(answer, "HTTP/1.1 200 OK"), 2u);
  EXPECT_EQ(count(answer, "Content-Length: 12\r\n"), 1u);  // "HEAD /a ? id="
  EXPECT_EQ(count(answer, "GET /a"), 1u);
  EXPECT_EQ(count(answer, "HEAD /a"), 0u);
}

TEST(Server, StatusWithoutABodyHasNone) {
  TestServer test({{"GET", "/a", Body::none, nothing}});
  std::string answer = test.say(get("/a", kClose));
  EXPECT_EQ(status(answer), 204);
  EXPECT_THAT(answer, Not(HasSubstr("Content-Length")));
  EXPECT_EQ(body(answer), "");
}

TEST(Server, ErrorsOfHandlersAreAnswersWithTheRequestId) {
  TestServer test(
      {{"GET", "/error", Body::none, fail}, {"GET", "/response", Body::none, fail_as_response}});
  std::string answer = test.say(get("/error", "X-Request-Id: my-1.id\r\n" + kClose));
  EXPECT_EQ(status(answer), 409);
  EXPECT_EQ(body(answer), R"({"error":"not now","code":"BUSY","request_id":"my-1.id"})");
  EXPECT_THAT(answer, HasSubstr("\r\nX-Request-Id: my-1.id\r\n"));
  answer = test.say(get("/response", "X-Request-Id: my-2\r\n" + kClose));
  EXPECT_EQ(status(answer), 410);
  EXPECT_EQ(body(answer), R"({"error":"was here","code":"GONE","request_id":"my-2"})");
}

TEST(Server, AForeignRequestIdMustBeSane) {
  TestServer test({{"GET", "/a", Body::none, show}});
  for (const std::string& id :
       {std::string("a b"), std::string("<script>"), std::string(200, 'x')}) {
    std::string answer = test.say(get("/a", "X-Request-Id: " + id + "\r\n" + kClose));
    EXPECT_THAT(answer, HasSubstr("\r\nX-Request-Id: req_"));
  }
}

TEST(Server, AnExceptionIs500AndTellsNothing) {
  TestServer test({{"GET", "/a", Body::none, throw_it}});
  std::string answer = test.say(get("/a") + get("/a", kClose));
  EXPECT_EQ(count(answer, "HTTP/1.1 500 "), 2u);  // the connection goes on
  EXPECT_THAT(answer, Not(HasSubstr("secret detail")));
  EXPECT_THAT(body(answer), HasSubstr(R"("code":"INTERNAL_ERROR")"));
}

TEST(Server, AHandlersHeaderCannotStartAnother) {
  TestServer test({{"GET", "/a", Body::none, split_header}});
  EXPECT_THAT(test.say(get("/a", kClose)), Not(HasSubstr("\nSet-Cookie")));
}

TEST(Server, Http10ClosesUnlessAskedNotTo) {
  TestServer test({{"GET", "/a", Body::none, show}});
  std::string answer = test.say("GET /a HTTP/1.0\r\n\r\n");
  EXPECT_EQ(status(answer), 200);
  answer = test.say("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /a HTTP/1.0\r\n\r\n");
  EXPECT_EQ(count(answer, "HTTP/1.1 200"), 2u);
  EXPECT_EQ(count(answer, "Connection: keep-alive"), 1u);
}

// --- Guard, rewrite, hosts

TEST(Server, TheGuardRunsBeforeTheBodyIsRead) {
  ServerOptions options;
  options.guard = [](const Request& request) -> Result<void> {
    if (request.headers.get("Authorization") == "Bearer key") return ok;
    return Error{Code::unauthenticated, "no key"};
  };
  TestServer test({{"POST", "/a", Body::whole, echo}}, options);
  // The body never comes: the answer may not wait for it.
  std::string answer = test.say(
      "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(status(answer), 401);
  EXPECT_THAT(body(answer), HasSubstr(R"("code":"AUTH_REQUIRED")"));
  EXPECT_THAT(answer, HasSubstr("Connection: close"));
  EXPECT_EQ(status(test.say(get("/unknown", kClose))),
            401);  // what exists is not for strangers to know
  answer =
      test.say("POST /a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\nContent-Length: 5\r\n" +
               kClose + "\r\nhello");
  EXPECT_EQ(body(answer), "hello");
}

TEST(Server, RewriteChangesThePathBeforeRouting) {
  ServerOptions options;
  options.rewrite = [](Request& request) -> Result<void> {
    if (request.headers.get("Host") == "bad") return Error{Code::not_found, "no such host"};
    request.path = str("/", *request.headers.get("Host"), request.path);
    return ok;
  };
  TestServer test({{"GET", "/{id}/a", Body::none, show}}, options);
  EXPECT_THAT(test.say(get("/a", kClose)), HasSubstr("id=localhost"));
  EXPECT_EQ(status(test.say("GET /a HTTP/1.1\r\nHost: bad\r\nConnection: close\r\n\r\n")), 404);
}

TEST(Server, ForeignHostsAndOriginsAre403) {
  ServerOptions options;
  options.allowed_hosts = {"localhost"};
  TestServer test({{"GET", "/a", Body::none, show}}, options);
  EXPECT_EQ(status(test.say(get("/a", kClose))), 200);
  EXPECT_EQ(status(test.say("GET /a HTTP/1.1\r\nHost: evil.example\r\n\r\n")), 403);
  EXPECT_EQ(status(test.say("GET http://evil.example/a HTTP/1.1\r\nHost: localhost\r\n\r\n")), 403);
  EXPECT_EQ(status(test.say("GET /a HTTP/1.0\r\n\r\n")), 403);
  EXPECT_EQ(status(test.say(get("/a", "Origin: http://evil.example\r\n"))), 403);
}

// --- Bodies

TEST(Server, ContinueIsSentOnlyWhenTheBodyIsWanted) {
  TestServer test({{.method = "POST",
                    .pattern = "/a",
                    .body = Body::whole,
                    .handler = echo,
                    .body_limit = 10}});
  auto ask = [](net::Address address) -> Task<void> {
    CO_TRY(stream, co_await dial(address));
    CO_TRY_DO(co_await stream->write_all(
        "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 1s));
    CO_TRY(first, co_await read_until(*stream, "\r\n\r\n"));
    EXPECT_EQ(first, "HTTP/1.1 100 Continue\r\n\r\n");
    CO_TRY_DO(co_await stream->write_all("hello", 1s));
    CO_TRY(second, co_await read_until(*stream, "hello"));
    EXPECT_EQ(status(second), 200);
    // Too large is said instead of "go on".
    CO_TRY_DO(co_await stream->write_all(
        "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n", 1s));
    CO_TRY(third, co_await read_to_end(*stream));
    EXPECT_EQ(status(third), 413);
    co_return ok;
  };
  test.run(ask(test.address));
}

TEST(Server, AnUnwantedBodyIsReadAndTheConnectionGoesOn) {
  TestServer test({{"GET", "/a", Body::none, show}});
  std::string unwanted(100'000, 'x');
  std::string answer =
      test.say(get("/a", "Content-Length: 100000\r\n") + unwanted + get("/a", kClose));
  EXPECT_EQ(count(answer, "HTTP/1.1 200"), 2u);
}

TEST(Server, AHugeUnwantedBodyEndsTheConnectionAfterTheAnswer) {
  TestServer test({{"GET", "/a", Body::none, show}});
  std::string answer = test.say(get("/a", "Content-Length: 3000000\r\n") +
                                std::string(3'000'000, 'x') + get("/a", kClose));
  EXPECT_EQ(count(answer, "HTTP/1.1 200"), 1u);
}

// --- Deadlines and limits

TEST(Server, AHeadThatDoesNotArriveIs408) {
  ServerOptions options;
  options.head_deadline = 20ms;
  TestServer test({{"GET", "/a", Body::none, show}}, options);
  std::string answer = test.say("GET /a HTTP/1.1\r\nHost: x\r\n");
  EXPECT_EQ(status(answer), 408);
  EXPECT_THAT(body(answer), HasSubstr(R"("code":"REQUEST_TIMEOUT")"));
}

TEST(Server, ABodyThatDoesNotArriveIs408) {
  ServerOptions options;
  options.body_deadline = 20ms;
  TestServer test({{"POST", "/a", Body::whole, echo}}, options);
  EXPECT_EQ(status(test.say("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")),
            408);
}

TEST(Server, IdleConnectionsAreClosedWithoutAWord) {
  ServerOptions options;
  options.idle_deadline = 20ms;
  TestServer test({{"GET", "/a", Body::none, show}}, options);
  EXPECT_EQ(test.say(""), "");
  EXPECT_EQ(count(test.say(get("/a")), "HTTP/1.1 "), 1u);
}

TEST(Server, OneConnectionTooManyIs503) {
  ServerOptions options;
  options.max_connections = 2;
  TestServer test({{"GET", "/a", Body::none, show}}, options);
  auto crowd = [](net::Address address) -> Task<void> {
    CO_TRY(one, co_await dial(address));
    CO_TRY(two, co_await dial(address));
    for (auto* stream : {one.get(), two.get()}) {
      CO_TRY_DO(co_await stream->write_all(get("/a"), 1s));
      CO_TRY(answer, co_await read_until(*stream, "id="));
      EXPECT_EQ(status(answer), 200);
    }
    CO_TRY(refused, co_await say(address, get("/a")));
    EXPECT_EQ(status(refused), 503);
    EXPECT_THAT(body(refused), HasSubstr(R"("code":"TOO_MANY_CONNECTIONS")"));
    one->close();
    for (;;) {  // the place is free once the server has seen it
      CO_TRY(next, co_await say(address, get("/a", kClose)));
      if (status(next) == 200) co_return ok;
    }
  };
  test.run(crowd(test.address));
}

// --- Draining

struct Gate {
  net::Event changed;
  bool entered = false, open = false, cancelled = false;
};

Task<Response> wait_at(Gate& gate, Request) {
  gate.entered = true;
  gate.changed.notify();
  while (!gate.open) {
    auto waited = co_await gate.changed.wait(net::kForever);
    if (waited) continue;
    gate.cancelled = true;
    gate.changed.notify();
    co_return std::move(waited.error());
  }
  co_return text(200, "done");
}

std::function<Task<Response>(Request)> gated(Gate& gate) {
  return [&gate](Request request) { return wait_at(gate, std::move(request)); };
}

Task<void> entered(Gate& gate) {
  while (!gate.entered) CO_TRY_DO(co_await gate.changed.wait(5s));
  co_return ok;
}

Task<void> drain_and_note(Server& server, Millis limit, bool& drained) {
  auto ended = co_await server.drain(limit);
  drained = true;
  co_return ended;
}

TEST(Drain, IdleConnectionsCloseAndRunningRequestsEnd) {
  Gate gate;
  TestServer test({{"GET", "/wait", Body::none, gated(gate)}});
  auto play = [](TestServer& test, Gate& gate) -> Task<void> {
    CO_TRY(idle, co_await dial(test.address));
    CO_TRY(busy, co_await dial(test.address));
    CO_TRY_DO(co_await busy->write_all(get("/wait"), 1s));
    CO_TRY_DO(co_await entered(gate));
    net::TaskGroup group(test.loop);
    bool drained = false;
    group.spawn("drain", drain_and_note(test.server, 10s, drained));
    CO_TRY(nothing, co_await read_to_end(*idle));
    EXPECT_EQ(nothing, "");
    EXPECT_FALSE(co_await dial(test.address));  // no new ones
    EXPECT_FALSE(drained);
    gate.open = true;
    gate.changed.notify();
    CO_TRY(answer, co_await read_to_end(*busy));
    EXPECT_THAT(answer, HasSubstr("Connection: close"));
    EXPECT_THAT(answer, EndsWith("done"));
    while (!drained) CO_TRY_DO(co_await net::yield());
    co_return ok;
  };
  test.run(play(test, gate));
}

TEST(Drain, WhatDoesNotEndInTimeIsCancelled) {
  Gate gate;
  TestServer test({{"GET", "/wait", Body::none, gated(gate)}});
  auto play = [](TestServer& test, Gate& gate) -> Task<void> {
    CO_TRY(busy, co_await dial(test.address));
    CO_TRY_DO(co_await busy->write_all(get("/wait"), 1s));
    CO_TRY_DO(co_await entered(gate));
    CO_TRY_DO(co_await test.server.drain(5ms));
    EXPECT_TRUE(gate.cancelled);
    co_return ok;
  };
  test.run(play(test, gate));
}

// --- Clients that go away

TEST(Disconnect, CancelsAHandlerThatOnlyWaits) {
  Gate gate;
  TestServer test({{.method = "GET",
                    .pattern = "/poll",
                    .handler = gated(gate),
                    .cancel_on_disconnect = true}});
  auto play = [](TestServer& test, Gate& gate) -> Task<void> {
    CO_TRY(stream, co_await dial(test.address));
    CO_TRY_DO(co_await stream->write_all(get("/poll"), 1s));
    CO_TRY_DO(co_await entered(gate));
    stream->close();
    while (!gate.cancelled) CO_TRY_DO(co_await gate.changed.wait(5s));
    co_return ok;
  };
  test.run(play(test, gate));
  EXPECT_TRUE(gate.cancelled);
}

TEST(Disconnect, APollThatIsAnsweredKeepsTheConnection) {
  Gate gate;
  gate.open = true;
  TestServer test({{.method = "GET",
                    .pattern = "/poll",
                    .handler = gated(gate),
                    .cancel_on_disconnect = true}});
  EXPECT_EQ(count(test.say(get("/poll") + get("/poll") + get("/poll", kClose)), "HTTP/1.1 200"),
            3u);
}

TEST(Disconnect, LeavesOtherHandlersAlone) {
  Gate gate;
  TestServer test({{"GET", "/change", Body::none, gated(gate)}});
  auto play = [](TestServer& test, Gate& gate) -> Task<void> {
    CO_TRY(stream, co_await dial(test.address));
    CO_TRY_DO(co_await stream->write_all(get("/change"), 1s));
    CO_TRY_DO(co_await entered(gate));
    stream->close();
    for (int i = 0; i < 20; ++i) CO_TRY_DO(co_await net::yield());
    EXPECT_FALSE(gate.cancelled);
    EXPECT_EQ(test.server.connections(), 1u);
    gate.open = true;
    gate.changed.notify();
    while (test.server.connections() > 0) CO_TRY_DO(co_await net::yield());
    co_return ok;
  };
  test.run(play(test, gate));
}

TEST(Metrics, CountRequestsByStatusClass) {
  TestServer test({{"GET", "/a", Body::none, show}});
  auto value = [](std::string series) {
    std::string all = metrics::render();
    auto at = all.find("\n" + series + " ");
    return at == all.npos ? -1 : std::atoi(all.c_str() + at + series.size() + 2);
  };
  int good = value(R"(http_requests_total{status="2xx"})"),
      bad = value(R"(http_requests_total{status="4xx"})");
  test.say(get("/a") + get("/b", kClose));
  EXPECT_EQ(value(R"(http_requests_total{status="2xx"})"), good + 1);
  EXPECT_EQ(value(R"(http_requests_total{status="4xx"})"), bad + 1);
  EXPECT_GE(value("http_request_seconds_count"), 2);
}

}  // namespace
}  // namespace glovebox::http

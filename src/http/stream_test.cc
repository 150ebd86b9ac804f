// Bodies that come and go in pieces: streamed answers, events, uploads, through our own client and
// by hand.
#include "base/temp_dir.h"
#include "http/client.h"
#include "http/test_server.h"
#include "net/test_cert.h"

namespace glovebox::http {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

std::string get(std::string target, std::string headers = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
}

Url url_of(const net::Address& address, std::string scheme = "http") {
  return *Url::parse(scheme + "://" + address.text());
}

Response streamed(std::function<Task<void>(BodyWriter&)> stream) {
  Response response;
  response.headers.add("Content-Type", "text/event-stream");
  response.stream = std::move(stream);
  return response;
}

Task<void> three_pieces(BodyWriter& out) {
  for (std::string piece : {"one,", "", "two,", "three"}) CO_TRY_DO(co_await out.write(piece));
  co_return ok;
}
Task<Response> pieces(Request) { co_return streamed(three_pieces); }

Task<void> break_off(BodyWriter& out) {
  CO_TRY_DO(co_await out.write("half"));
  co_return Error{Code::internal, "broke"};
}
Task<Response> broken(Request) { co_return streamed(break_off); }

Task<void> throw_off(BodyWriter& out) {
  CO_TRY_DO(co_await out.write("half"));
  throw std::runtime_error("thrown");
}
Task<Response> throwing(Request) { co_return streamed(throw_off); }

Task<Response> sized(Request request) {
  Response response = streamed(three_pieces);
  response.headers.set("Content-Length", request.query);
  co_return response;
}

Task<Response> sum_up(Request request) {
  std::size_t pieces = 0, bytes = 0;
  for (;;) {
    CO_TRY(piece, co_await request.body_stream->read());
    if (piece.empty()) break;
    EXPECT_LE(piece.size(), 64u * 1024);
    ++pieces;
    bytes += piece.size();
  }
  co_return text(200, str(bytes, pieces > 0 ? " bytes" : ""));
}

Task<Response> ignore_body(Request) { co_return Error{Code::forbidden, "not you"}; }

Task<void> pump(std::shared_ptr<BodyReader> in, BodyWriter& out) {
  for (;;) {
    CO_TRY(piece, co_await in->read());
    if (piece.empty()) co_return ok;
    CO_TRY_DO(co_await out.write(piece));
  }
}
Task<Response> pipe_through(Request request) {
  co_return streamed([in = request.body_stream](BodyWriter& out) { return pump(in, out); });
}

std::vector<Route> routes() {
  return {
      {"GET", "/pieces", Body::none, pieces},       {"GET", "/broken", Body::none, broken},
      {"GET", "/throwing", Body::none, throwing},   {"GET", "/sized", Body::none, sized},
      {"POST", "/sum", Body::stream, sum_up},       {"POST", "/ignore", Body::stream, ignore_body},
      {"POST", "/pipe", Body::stream, pipe_through}};
}

TEST(StreamedAnswer, IsChunkedAndTheConnectionGoesOn) {
  TestServer test(routes());
  std::string answer = test.say(get("/pieces") + get("/pieces", "Connection: close\r\n"));
  EXPECT_EQ(count(answer, "Transfer-Encoding: chunked\r\n"), 2u);
  EXPECT_EQ(count(answer, "\r\n\r\n4\r\none,\r\n4\r\ntwo,\r\n5\r\nthree\r\n0\r\n\r\n"), 2u);
}

TEST(StreamedAnswer, OfHttp10EndsWithTheConnection) {
  TestServer test(routes());
  std::string answer = test.say("GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(answer, Not(HasSubstr("chunked")));
  EXPECT_EQ(body(answer), "one,two,three");
}

TEST(StreamedAnswer, ThatFailsHasNoLastChunk) {
  TestServer test(routes());
  for (std::string path : {"/broken", "/throwing"})
    EXPECT_EQ(body(test.say(get(path))), "4\r\nhalf\r\n") << path;
}

TEST(StreamedAnswer, WithALengthIsSentAsItIs) {
  TestServer test(routes());
  EXPECT_EQ(body(test.say(get("/sized?13", "Connection: close\r\n"))), "one,two,three");
  EXPECT_EQ(body(test.say(get("/sized?14"))),
            "one,two,three");  // cut: the connection does not go on
  EXPECT_EQ(body(test.say(get("/sized?6"))), "one,");
}

TEST(StreamedAnswer, OfHeadIsOnlyTheHead) {
  TestServer test(routes());
  std::string answer = test.say("HEAD /pieces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(status(answer), 200);
  EXPECT_EQ(body(answer), "");
}

struct Endless {
  net::Event changed;
  int writes = 0;
  bool started = false;
  std::optional<Code> ended;
};

Task<void> write_forever(Endless& endless, BodyWriter& out) {
  for (;;) {
    auto written = co_await out.write(std::string(100'000, 'x'));
    ++endless.writes;
    if (written) continue;
    EXPECT_TRUE(out.closed());
    endless.ended = written.error().code;
    endless.changed.notify();
    co_return written;
  }
}
Task<void> say_nothing(Endless& endless, BodyWriter& out) {
  endless.started = true;
  endless.changed.notify();
  net::Event never;
  auto waited = co_await never.wait(net::kForever);
  EXPECT_TRUE(out.closed());
  endless.ended = waited.error().code;
  endless.changed.notify();
  co_return waited;
}

std::vector<Route> endless_route(Endless& endless, Task<void> (*stream)(Endless&, BodyWriter&)) {
  // The lambdas only call coroutines; what they refer to outlives the server's run.
  auto make = [&endless, stream](Request) -> Task<Response> {
    struct Maker {
      static Task<Response> run(Endless& endless, Task<void> (*stream)(Endless&, BodyWriter&)) {
        co_return streamed([&endless, stream](BodyWriter& out) { return stream(endless, out); });
      }
    };
    return Maker::run(endless, stream);
  };
  return {{"GET", "/endless", Body::none, make}};
}

TEST(SlowReader, IsCutAtTheWriteDeadline) {
  Endless endless;
  ServerOptions options;
  options.write_deadline = 30ms;
  TestServer test(endless_route(endless, write_forever), options);
  auto play = [](TestServer& test, Endless& endless) -> Task<void> {
    CO_TRY(stream, co_await dial(test.address));
    CO_TRY_DO(co_await stream->write_all(get("/endless"), 1s));
    while (!endless.ended) CO_TRY_DO(co_await endless.changed.wait(10s));  // and nobody reads
    while (test.server.connections() > 0) CO_TRY_DO(co_await net::yield());
    co_return ok;
  };
  test.run(play(test, endless));
  EXPECT_EQ(endless.ended, Code::timeout);
  EXPECT_GT(endless.writes, 1);
}

TEST(Disconnect, CancelsAStreamThatWaits) {
  Endless endless;
  TestServer test(endless_route(endless, say_nothing));
  auto play = [](TestServer& test, Endless& endless) -> Task<void> {
    CO_TRY(stream, co_await dial(test.address));
    CO_TRY_DO(co_await stream->write_all(get("/endless") + get("/pipelined"), 1s));
    while (!endless.started) CO_TRY_DO(co_await endless.changed.wait(5s));
    stream->close();
    while (!endless.ended) CO_TRY_DO(co_await endless.changed.wait(5s));
    co_return ok;
  };
  test.run(play(test, endless));
  EXPECT_EQ(endless.ended, Code::cancelled);
}

TEST(Disconnect, EndsAStreamThatWrites) {
  Endless endless;
  TestServer test(endless_route(endless, write_forever));
  auto play = [](TestServer& test, Endless& endless) -> Task<void> {
    CO_TRY(stream, co_await dial(test.address));
    CO_TRY_DO(co_await stream->write_all(get("/endless"), 1s));
    CO_TRY(some, co_await read_until(*stream, "xxx"));
    stream->close();
    while (!endless.ended) CO_TRY_DO(co_await endless.changed.wait(5s));
    co_return ok;
  };
  test.run(play(test, endless));
}

// --- Streamed requests

TEST(StreamedRequest, ArrivesPieceByPiece) {
  TestServer test(routes());
  std::string chunk = "2710\r\n" + std::string(10'000, 'x') + "\r\n", chunks;
  for (int i = 0; i < 100; ++i) chunks += chunk;
  std::string head = "POST /sum HTTP/1.1\r\nHost: x\r\n";
  std::string answer = test.say(
      head + "Transfer-Encoding: chunked\r\n\r\n" + chunks + "0\r\n\r\n" +  //
      head + "Content-Length: 0\r\n\r\n" +                                  //
      head + "Content-Length: 100000\r\nConnection: close\r\n\r\n" + std::string(100'000, 'y'));
  EXPECT_EQ(count(answer, "1000000 bytes"), 1u);
  EXPECT_EQ(count(answer, "HTTP/1.1 200"), 3u);
  EXPECT_THAT(answer, EndsWith("100000 bytes"));
}

TEST(StreamedRequest, MalformedChunksAre400) {
  TestServer test(routes());
  std::string answer = test.say(
      "POST /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nzz\r\n");
  EXPECT_EQ(status(answer), 400);
  EXPECT_THAT(answer, HasSubstr("Connection: close"));
}

TEST(StreamedRequest, ThatIsRefusedUnreadGetsItsAnswer) {
  TestServer test(routes());
  std::string head = "POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: ";
  EXPECT_EQ(count(test.say(head + "1000\r\n\r\n" + std::string(1000, 'x') +
                           get("/pieces", "Connection: close\r\n")),
                  "HTTP/1.1 "),
            2u);
  EXPECT_EQ(status(test.say(head + "4000000\r\n\r\n" + std::string(4'000'000, 'x'))), 403);
}

TEST(StreamedRequest, MayBeAnsweredWhileItArrives) {
  TestServer test(routes());
  auto play = [](net::Address address) -> Task<void> {
    CO_TRY(stream, co_await dial(address));
    CO_TRY_DO(co_await stream->write_all(
        "POST /pipe HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 1s));
    for (std::string word : {"one", "two", "six"}) {
      CO_TRY_DO(co_await stream->write_all("3\r\n" + word + "\r\n", 1s));
      CO_TRY(back, co_await read_until(*stream, word + "\r\n"));
    }
    CO_TRY_DO(
        co_await stream->write_all("0\r\n\r\n" + get("/pieces", "Connection: close\r\n"), 1s));
    CO_TRY(rest, co_await read_to_end(*stream));
    EXPECT_TRUE(rest.starts_with("0\r\n\r\nHTTP/1.1 200 OK")) << rest;
    co_return ok;
  };
  test.run(play(test.address));
}

TEST(StreamedRequest, ThatDoesNotArriveIsAnError) {
  ServerOptions options;
  options.body_deadline = 20ms;
  TestServer test(routes(), options);
  std::string answer = test.say("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello");
  EXPECT_EQ(status(answer), 400);
  EXPECT_THAT(body(answer), HasSubstr("REQUEST_TIMEOUT"));
}

Task<Response> keep_body(std::shared_ptr<BodyReader>& kept, Request request) {
  kept = request.body_stream;
  co_return text(200, "kept");
}

Task<void> read_kept(TestServer& test, std::shared_ptr<BodyReader>& kept) {
  CO_TRY(stream, co_await dial(test.address));
  CO_TRY_DO(co_await stream->write_all(
      "POST /keep HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 1s));
  CO_TRY(answer, co_await read_until(*stream, "kept"));
  auto meanwhile = co_await kept->read();  // while the server reads what the handler left
  EXPECT_EQ(meanwhile.error().code, Code::conflict);
  CO_TRY_DO(co_await stream->write_all("hello" + get("/pieces"), 1s));
  CO_TRY(next, co_await read_until(*stream, "three"));
  EXPECT_EQ(status(next), 200);
  auto later = co_await kept->read();
  EXPECT_EQ(later.error().code, Code::gone);
  kept.reset();
  co_return ok;
}

TEST(StreamedRequest, IsOverWhenItsAnswerIsSent) {
  std::shared_ptr<BodyReader> kept;
  auto all = routes();
  all.push_back({"POST", "/keep", Body::stream,
                 [&kept](Request request) { return keep_body(kept, std::move(request)); }});
  TestServer test(std::move(all));
  test.run(read_kept(test, kept));
}

// --- Our own client

Task<void> call_all(TestServer& test) {
  Client client(test.loop, url_of(test.address), {}, {.body_limit = 1000});
  CO_TRY(whole, co_await client.call("GET", "/pieces"));
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.body, "one,two,three");
  CO_TRY(head, co_await client.call("HEAD", "/pieces"));
  EXPECT_EQ(head.body, "");
  CO_TRY(posted, co_await client.call("POST", "/sum", std::string(300'000, 'x')));
  EXPECT_EQ(posted.body, "300000 bytes");
  CO_TRY(missing, co_await client.call("GET", "/missing"));
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(test.server.connections(), 1u);  // all of them over one

  auto cut = co_await client.call("GET", "/broken");
  EXPECT_FALSE(cut);
  EXPECT_EQ(cut.error().code, Code::unavailable);
  auto large = co_await client.call("POST", "/pipe", std::string(2000, 'x'));
  EXPECT_FALSE(large);
  EXPECT_EQ(large.error().code, Code::too_large);
  auto bad = co_await client.call("GET", "/a b");
  EXPECT_EQ(bad.error().code, Code::invalid);
  auto split = co_await client.call("GET", "/pieces", "", [] {
    Headers headers;
    headers.add("A", "b\r\nC: d");
    return headers;
  }());
  EXPECT_EQ(split.error().code, Code::invalid);
  co_return ok;
}

TEST(Client, CallsAndReusesItsConnection) {
  TestServer test(routes());
  test.run(call_all(test));
}

Task<std::string> ten_pieces(int& sent, std::size_t size) {
  co_return sent++ < 10 ? std::string(size, 'x') : "";
}

Task<void> uploads(TestServer& test) {
  Client client(test.loop, url_of(test.address));
  int sent = 0;
  CO_TRY(chunked,
         co_await client.upload("POST", "/sum", [&sent] { return ten_pieces(sent, 1000); }));
  EXPECT_EQ(chunked.body, "10000 bytes");
  sent = 0;
  CO_TRY(sized, co_await client.upload(
                    "POST", "/sum", [&sent] { return ten_pieces(sent, 1000); }, 10'000));
  EXPECT_EQ(sized.body, "10000 bytes");
  sent = 0;
  auto short_one =
      co_await client.upload("POST", "/sum", [&sent] { return ten_pieces(sent, 1000); }, 10'001);
  EXPECT_FALSE(short_one);
  sent = 0;  // refused early: the answer comes through although not everything was sent
  CO_TRY(refused, co_await client.upload("POST", "/ignore",
                                         [&sent] { return ten_pieces(sent, 4'000'000); }));
  EXPECT_EQ(refused.status, 403);
  co_return ok;
}

TEST(Client, UploadsFromASource) {
  TestServer test(routes());
  test.run(uploads(test));
}

Task<void> server_that_closes(net::Listener& listener, int& connections) {
  for (;;) {
    CO_TRY(stream, co_await listener.accept());
    ++connections;
    CO_TRY(request, co_await read_until(*stream, "\r\n\r\n"));
    // It says keep-alive and does not keep it.
    CO_TRY_DO(co_await stream->write_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 1s));
    if (connections % 2)
      CO_TRY_DO(co_await read_until(*stream, "\r\n\r\n"));  // or only after the next request
    stream->close();
  }
}

Task<void> stale_connections(net::Loop& loop) {
  CO_TRY(listener, net::Listener::open(loop, net::Address{.host = "127.0.0.1"}));
  int connections = 0;
  net::TaskGroup group(loop);
  group.spawn("server", server_that_closes(listener, connections));
  Client client(loop, url_of(listener.address()));
  CO_TRY(first, co_await client.call("GET", "/"));
  CO_TRY(second, co_await client.call(
                     "GET", "/"));  // on a connection that closes under it: once more on another
  EXPECT_EQ(second.body, "hi");
  EXPECT_EQ(connections, 2);
  while (connections < 3) {  // seen to be closed before anything was sent
    CO_TRY(third, co_await client.call("POST", "/"));
  }
  auto lost = co_await client.call("POST", "/");  // may have been done: not repeated
  EXPECT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Code::unavailable);
  co_return co_await group.finish(5s);
}

TEST(Client, RepeatsOnlyWhatDoesNoHarmOnAStaleConnection) {
  net::Loop loop;
  auto ran = net::run(loop, stale_connections(loop));
  EXPECT_TRUE(ran) << ran.error().what;
}

Task<void> answer_with(net::Listener& listener, std::string bytes) {
  for (;;) {
    CO_TRY(stream, co_await listener.accept());
    CO_TRY(request, co_await read_until(*stream, "\r\n\r\n"));
    CO_TRY_DO(co_await stream->write_all(bytes, 1s));
    stream->shutdown_write();
  }
}

Task<void> call_answered_with(net::Loop& loop, std::string bytes, std::string& seen) {
  CO_TRY(listener, net::Listener::open(loop, net::Address{.host = "127.0.0.1"}));
  net::TaskGroup group(loop);
  group.spawn("server", answer_with(listener, bytes));
  Client client(loop, url_of(listener.address()));
  auto answer = co_await client.call("GET", "/");
  seen = answer ? str(answer->status, " ", answer->body) : std::string(name(answer.error().code));
  co_return co_await group.finish(5s);
}

TEST(Client, UnderstandsEveryFramingAndTrustsNone) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 hi"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more", "200 hi"},
      {"HTTP/1.1 200 OK\r\n\r\nhi", "200 hi"},
      {"HTTP/1.0 200 OK\r\n\r\nhi", "200 hi"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200 hi"},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 204 No "
       "Content\r\n\r\n",
       "204 "},
      {"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", "404 "},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "unavailable"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "unavailable"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello", "unavailable"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", "unavailable"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi", "unavailable"},
      {"HTTP/1.1 200 OK\r\nA: " + std::string(100'000, 'x'), "unavailable"},
      {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "unavailable"},
      {"HTTP/1.1 200 OK\r\n", "unavailable"},
      {"", "unavailable"}};
  for (const auto& [bytes, expected] : table) {
    net::Loop loop;
    std::string seen;
    auto ran = net::run(loop, call_answered_with(loop, bytes, seen));
    EXPECT_TRUE(ran) << ran.error().what;
    EXPECT_EQ(seen, expected) << bytes.substr(0, 200);
  }
}

// --- Events

Task<void> send_events(BodyWriter& out) {
  for (int i = 1; i <= 3; ++i)
    CO_TRY_DO(co_await out.write(encode({"tick", str("line ", i, "\n\xc3\xa4"), str(i)})));
  co_return ok;
}
Task<Response> event_stream(Request) { co_return streamed(send_events); }

Task<void> read_events(TestServer& test, std::vector<std::string>& seen) {
  Client client(test.loop, url_of(test.address));
  CO_TRY(answer, co_await client.open("GET", "/events"));
  EXPECT_EQ(answer.headers.get("content-type"), "text/event-stream");
  SseReader events(*answer.body);
  for (;;) {
    CO_TRY(event, co_await events.next());
    if (!event) co_return ok;
    seen.push_back(str(event->event, event->id, " ", event->data));
  }
}

TEST(Events, GoFromServerToClient) {
  TestServer test({{"GET", "/events", Body::none, event_stream}});
  std::vector<std::string> seen;
  test.run(read_events(test, seen));
  EXPECT_THAT(seen, ElementsAre("tick1 line 1\n\xc3\xa4", "tick2 line 2\n\xc3\xa4",
                                "tick3 line 3\n\xc3\xa4"));
}

// --- TLS and Unix sockets

Task<void> call_over_tls(TestServer& test, std::string ca_file) {
  Url url = url_of(test.address, "https");
  Client client(test.loop, url, {}, {.ca_file = ca_file});
  for (int i = 0; i < 3; ++i) {
    CO_TRY(answer, co_await client.call("GET", "/pieces"));
    EXPECT_EQ(answer.body, "one,two,three");
  }
  EXPECT_EQ(test.server.connections(), 1u);
  CO_TRY(posted, co_await client.call("POST", "/sum", std::string(1'000'000, 'x')));
  EXPECT_EQ(posted.body, "1000000 bytes");
  Client distrustful(test.loop, url);
  auto refused = co_await distrustful.call("GET", "/pieces");
  EXPECT_FALSE(refused);
  CO_TRY(plain, co_await say(test.address,
                             get("/pieces")));  // plain HTTP on a TLS port: an alert, no answer
  EXPECT_THAT(plain, Not(HasSubstr("HTTP")));
  co_return ok;
}

TEST(Tls, ServesAndIsVerified) {
  net::TestCert cert;
  ServerOptions options;
  options.tls = *net::TlsServer::load(cert.cert(), cert.key());
  TestServer test(routes(), options);
  test.run(call_over_tls(test, cert.cert()));
}

Task<void> trust_for(TestServer& test, std::string file) {
  Url url = url_of(test.address, "https");
  url.host = "localhost";
  for (std::string trust : {"localhost=", "", "example.org=", "glovebox.localhost="}) {
    Client client(test.loop, url, {}, {.also_trust = trust + file});
    auto answer = co_await client.call("GET", "/pieces");
    EXPECT_EQ(answer.has_value(), trust.empty() || trust == "localhost=") << trust;
  }
  co_return ok;
}

TEST(Tls, WhatIsTrustedForADomainCountsForItsNamesAlone) {
  net::TestCert cert;
  ServerOptions options;
  options.tls = *net::TlsServer::load(cert.cert(), cert.key());
  TestServer test(routes(), options);
  test.run(trust_for(test, cert.cert()));
}

Task<void> call_over_unix(TestServer& test, std::string path) {
  CO_TRY_DO(test.server.listen(net::Address{.unix_path = path}));
  CO_TRY(url, Url::parse("unix:" + path));
  Client client(test.loop, url);
  CO_TRY(answer, co_await client.call("GET", "/pieces"));
  EXPECT_EQ(answer.body, "one,two,three");
  co_return ok;
}

TEST(UnixSocket, ServesWithoutHostCheck) {
  const std::string directory = make_temp_dir("glovebox-http");
  ServerOptions options;
  options.allowed_hosts = {"only-this-name"};
  TestServer test(routes(), options);
  test.run(call_over_unix(test, directory + "/s"));
  EXPECT_EQ(::rmdir(directory.c_str()), 0);
}

}  // namespace
}  // namespace glovebox::http

#include "http/websocket.h"

#include "http/client.h"
#include "http/test_server.h"
#include "net/test_cert.h"

namespace glovebox::http {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Task<void> echo(WebSocket& socket) {
  for (;;) {
    CO_TRY(message, co_await socket.read());
    CO_TRY_DO(co_await socket.write(message.kind, message.kind == WebSocket::Kind::text
                                                      ? "echo " + message.data
                                                      : message.data));
  }
}
Response upgraded(std::function<Task<void>(WebSocket&)> talk) {
  Response response;
  response.headers.add("X-Extra", "yes");
  response.upgrade = std::move(talk);
  return response;
}
Task<Response> open_echo(Request) { co_return upgraded(echo); }

Task<void> greet_and_end(WebSocket& socket) { return socket.write(WebSocket::Kind::text, "bye"); }
Task<Response> open_greeting(Request) { co_return upgraded(greet_and_end); }
Task<Response> refuse(Request) { co_return Error{Code::unauthenticated, "no key"}; }

std::vector<Route> routes() {
  return {{"GET", "/echo", Body::none, open_echo},
          {"GET", "/greeting", Body::none, open_greeting},
          {"GET", "/refused", Body::none, refuse}};
}

const std::string kHandshake =
    "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

// A masked frame with the mask 0: what a client sends, readable.
std::string frame(unsigned char first, std::string payload) {
  std::string bytes(1, static_cast<char>(first));
  if (payload.size() < 126) {
    bytes += static_cast<char>(0x80 | payload.size());
  } else {
    bytes += '\xff';
    for (int shift = 56; shift >= 0; shift -= 8)
      bytes += static_cast<char>(payload.size() >> shift);
  }
  return bytes + std::string(4, '\0') + payload;
}

TEST(WebSocket, UpgradesAndEchoesByHand) {
  TestServer test(routes());
  // Frames right behind the handshake, one in two fragments with a ping between, then a close.
  std::string answer = test.say(
      kHandshake + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" + frame(0x81, "hello") +
      frame(0x01, "wo") + frame(0x89, "ping") + frame(0x80, "rld") + frame(0x88, "\x03\xe8"));
  EXPECT_EQ(status(answer), 101);
  EXPECT_THAT(answer, HasSubstr("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
  EXPECT_THAT(answer, HasSubstr("X-Extra: yes"));
  EXPECT_THAT(answer, HasSubstr("X-Request-Id: req_"));
  EXPECT_THAT(answer, testing::Not(HasSubstr("Extensions")));  // never compressed
  std::string frames = body(answer);
  EXPECT_THAT(frames, HasSubstr("\x81\x0a"
                                "echo hello"));
  EXPECT_THAT(frames, HasSubstr("\x8a\x04"
                                "ping"));
  EXPECT_THAT(frames, HasSubstr("\x81\x0a"
                                "echo world"));
  EXPECT_THAT(frames, testing::EndsWith("\x88\x02\x03\xe8"));
}

// What comes in one piece with the answer to the handshake some libraries lose.
Task<void> read_the_answer(net::Address address, std::string handshake, std::string& piece) {
  CO_TRY(stream, co_await net::connect(address, 5s));
  CO_TRY_DO(co_await stream->write_all(handshake, 5s));
  piece.resize(4096);
  CO_TRY(got, co_await stream->read_some(piece, 5s));
  piece.resize(got);
  co_return ok;
}
TEST(WebSocket, WhoAcceptsWaitsAMomentBeforeItSpeaks) {
  TestServer test(routes());
  std::string handshake = kHandshake + "\r\n", piece;
  handshake.replace(handshake.find("/echo"), 5, "/greeting");
  auto read = net::run(test.loop, read_the_answer(test.address, handshake, piece));
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(status(piece), 101);
  EXPECT_THAT(piece, testing::EndsWith("\r\n\r\n"));
  EXPECT_THAT(test.say(handshake), HasSubstr("\x81\x03"
                                             "bye"));
}

TEST(WebSocket, WhatIsNoHandshakeGets426) {
  TestServer test(routes());
  for (std::string request :
       {std::string("GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        std::string(
            "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n"),
        std::string(
            "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
        std::string(
            "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n")}) {
    std::string answer = test.say(request);
    EXPECT_EQ(status(answer), 426) << request << answer;
    EXPECT_THAT(answer, HasSubstr("Upgrade: websocket\r\n"));
    EXPECT_THAT(answer, HasSubstr(R"("code":"UPGRADE_REQUIRED")"));
  }
}

TEST(WebSocket, HostileFramesEndItAndTheServerGoesOn) {
  TestServer test(routes());
  const std::vector<std::pair<std::string, std::string>> table = {
      {"not masked", std::string("\x81\x05hello")},
      {"reserved bits", frame(0xc1, "hello")},
      {"unknown opcode", frame(0x83, "hello")},
      {"continuation of nothing", frame(0x80, "hello")},
      {"text inside a fragmented text", frame(0x01, "a") + frame(0x81, "b")},
      {"fragmented ping", frame(0x09, "a")},
      {"long ping", std::string("\x89\xfe\x01\x00", 4) + std::string(260, '\0')},
      {"invalid UTF-8", frame(0x81, "\xff\xff")},
      {"close with a bad code", frame(0x88, std::string("\x00\x01", 2))},
      {"over the message limit", frame(0x82, std::string(kWebSocketMessageLimit + 1, 'x'))},
      {"said to be huge", std::string("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14)},
  };
  for (const auto& [name, bytes] : table) {
    SCOPED_TRACE(name);
    std::string answer = test.say(kHandshake + "\r\n" + bytes);
    EXPECT_EQ(status(answer), 101);
    EXPECT_THAT(body(answer), HasSubstr("\x88")) << "no close frame";
    EXPECT_THAT(body(answer), testing::Not(HasSubstr("echo")));
  }
  EXPECT_EQ(status(test.say(kHandshake + "\r\n" + frame(0x88, "\x03\xe8"))), 101);
}

Task<void> talk(TestServer& test, std::string scheme, std::string ca_file) {
  Client client(test.loop, *Url::parse(scheme + "://" + test.address.text()), {},
                {.ca_file = ca_file});
  CO_TRY(socket, co_await client.websocket("/echo"));
  CO_TRY_DO(co_await socket->write(WebSocket::Kind::text, "h\xc3\xa4"));
  CO_TRY(text, co_await socket->read());
  EXPECT_EQ(text.kind, WebSocket::Kind::text);
  EXPECT_EQ(text.data, "echo h\xc3\xa4");
  std::string large(kWebSocketMessageLimit, '\xff');
  CO_TRY_DO(co_await socket->write(WebSocket::Kind::binary, large));
  CO_TRY(binary, co_await socket->read());
  EXPECT_EQ(binary.kind, WebSocket::Kind::binary);
  EXPECT_EQ(binary.data, large);
  CO_TRY_DO(co_await socket->close(1000, "done"));
  auto after = co_await socket->write(WebSocket::Kind::text, "x");
  EXPECT_FALSE(after);
  EXPECT_EQ(after.error().code, Code::gone);
  while (test.server.connections() > 0) CO_TRY_DO(co_await net::yield());
  co_return ok;
}

TEST(WebSocket, OurClientTalksToOurServer) {
  TestServer test(routes());
  test.run(talk(test, "http", ""));
}

TEST(WebSocket, OverTlsToo) {
  net::TestCert cert;
  ServerOptions options;
  options.tls = *net::TlsServer::load(cert.cert(), cert.key());
  TestServer test(routes(), options);
  test.run(talk(test, "https", cert.cert()));
}

Task<void> endings(TestServer& test) {
  Client client(test.loop, *Url::parse("http://" + test.address.text()));
  CO_TRY(greeting, co_await client.websocket("/greeting"));
  CO_TRY(bye, co_await greeting->read());
  EXPECT_EQ(bye.data, "bye");
  auto end = co_await greeting->read();
  EXPECT_FALSE(end);
  EXPECT_EQ(end.error().code, Code::gone);

  auto refused = co_await client.websocket("/refused");
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unauthenticated);
  auto missing = co_await client.websocket("/missing");
  EXPECT_EQ(missing.error().code, Code::not_found);
  co_return ok;
}

TEST(WebSocket, TheEndAndRefusalsAreErrorsByName) {
  TestServer test(routes());
  test.run(endings(test));
}

Task<void> read_one(WebSocket& socket, std::vector<std::string>& seen) {
  auto message = co_await socket.read();
  seen.push_back(message ? message->data : std::string(name(message.error().code)));
  co_return ok;
}

Task<void> cancelled_reads(TestServer& test, std::vector<std::string>& seen) {
  Client client(test.loop, *Url::parse("http://" + test.address.text()));
  CO_TRY(socket, co_await client.websocket("/echo"));
  for (int i = 0; i < 3; ++i) {
    net::TaskGroup group(test.loop);
    group.spawn("reader", read_one(*socket, seen));
    for (int turn = 0; turn < 5; ++turn) CO_TRY_DO(co_await net::yield());
    CO_TRY_DO(co_await group.finish(5s));
  }
  CO_TRY_DO(co_await socket->write(WebSocket::Kind::text, "1"));
  CO_TRY_DO(co_await read_one(*socket, seen));
  co_return ok;
}

TEST(WebSocket, ACancelledReadLosesNothing) {
  TestServer test(routes());
  std::vector<std::string> seen;
  test.run(cancelled_reads(test, seen));
  EXPECT_THAT(seen, ElementsAre("cancelled", "cancelled", "cancelled", "echo 1"));
}

Task<void> write_many(WebSocket& socket, std::string word) {
  for (int i = 0; i < 50; ++i) CO_TRY_DO(co_await socket.write(WebSocket::Kind::text, word));
  co_return ok;
}

Task<void> two_writers(TestServer& test) {
  Client client(test.loop, *Url::parse("http://" + test.address.text()));
  CO_TRY(socket, co_await client.websocket("/echo"));
  net::TaskGroup group(test.loop);
  group.spawn("a", write_many(*socket, std::string(5000, 'a')));
  group.spawn("b", write_many(*socket, std::string(5000, 'b')));
  int a = 0, b = 0;
  for (int i = 0; i < 100; ++i) {
    CO_TRY(message, co_await socket->read());
    if (message.data == "echo " + std::string(5000, 'a')) ++a;
    if (message.data == "echo " + std::string(5000, 'b')) ++b;
  }
  EXPECT_EQ(a, 50);
  EXPECT_EQ(b, 50);
  co_return co_await group.finish(5s);
}

TEST(WebSocket, SeveralMayWrite) {
  TestServer test(routes());
  test.run(two_writers(test));
}

Task<void> cut(TestServer& test) {
  CO_TRY(stream, co_await dial(test.address));
  CO_TRY_DO(co_await stream->write_all(kHandshake + "\r\n", 1s));
  CO_TRY(head, co_await read_until(*stream, "\r\n\r\n"));
  EXPECT_EQ(test.server.connections(), 1u);
  stream->close();  // without a close frame
  while (test.server.connections() > 0) CO_TRY_DO(co_await net::yield());
  co_return ok;
}

TEST(WebSocket, AClientThatVanishesIsNoticed) {
  TestServer test(routes());
  test.run(cut(test));
}

}  // namespace
}  // namespace glovebox::http

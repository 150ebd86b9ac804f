#include "net/stream.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/temp_dir.h"
#include "net/also_trust.h"
#include "net/task.h"
#include "net/test_cert.h"

namespace glovebox::net {
namespace {

TEST(Address, PublicIsWhatTheInternetRoutes) {
  for (auto host : {"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.0.1",
                    "172.32.0.1", "192.0.1.1", "223.255.255.255", "2606:4700::1111", "2a00::1",
                    "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"})
    EXPECT_TRUE((Address{.host = host}.is_public())) << host;
  for (auto host : {"0.0.0.0",
                    "10.1.2.3",
                    "100.64.0.1",
                    "127.0.0.1",
                    "169.254.169.254",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "192.0.2.1",
                    "198.18.0.1",
                    "198.51.100.1",
                    "203.0.113.9",
                    "224.0.0.1",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "::1",
                    "fe80::1",
                    "fc00::1",
                    "fd00::1",
                    "ff02::1",
                    "::ffff:127.0.0.1",
                    "::ffff:10.0.0.1",
                    "64:ff9b::a00:1",
                    "64:ff9b:1::1",
                    "2002:a00:1::1",
                    "2001::1",
                    "2001:db8::1",
                    "3fff::1",
                    "localhost",
                    "example.com",
                    ""})
    EXPECT_FALSE((Address{.host = host}.is_public())) << host;
}

TEST(Address, ParsesWhatItPrints) {
  for (std::string text : {"127.0.0.1:8410", "[::1]:8410", "unix:/run/x.sock", "localhost:0"}) {
    auto address = Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), text);
  }
}

TEST(Address, RefusesWhatIsNotOne) {
  for (std::string text : {"", "8410", ":8410", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
                           "127.0.0.1:-1", "127.0.0.1:80x", "::1:80", "unix:"})
    EXPECT_FALSE(Address::parse(text)) << text;
  EXPECT_FALSE(Address::parse("unix:/" + std::string(107, 'x')));
}

TEST(Address, KnowsWhatIsLoopback) {
  for (std::string text :
       {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1", "unix:/x"})
    EXPECT_TRUE(Address::parse(text)->is_loopback()) << text;
  for (std::string text :
       {"0.0.0.0:1", "10.0.0.1:1", "[::]:1", "128.0.0.1:1", "localhost.example.org:1"})
    EXPECT_FALSE(Address::parse(text)->is_loopback()) << text;
}

TEST(AlsoTrust, IsForADomainAndTheNamesBelowIt) {
  const AlsoTrust trust{.file = "ca.pem", .domain = "boxes.example.org"};
  for (auto host : {"boxes.example.org", "api.boxes.example.org", "API.Boxes.Example.ORG",
                    "8080-x.boxes.example.org.", "a.b.boxes.example.org"})
    EXPECT_TRUE(trust.counts_for(host)) << host;
  for (auto host : {"example.org", "notboxes.example.org", "boxes.example.org.evil.net", "", ".",
                    "api.anthropic.com", "127.0.0.1", "localhost", "oxes.example.org"})
    EXPECT_FALSE(trust.counts_for(host)) << host;
  EXPECT_TRUE(AlsoTrust::parse("/ca.pem").counts_for("api.anthropic.com"));
  for (const char* text : {"/ca.pem", "ca.pem", "", "/odd=/ca.pem", "boxes.example.org=/ca.pem"})
    EXPECT_EQ(AlsoTrust::parse(text).text(), text);
  EXPECT_EQ(AlsoTrust::parse("boxes.example.org=/a/ca.pem").file, "/a/ca.pem");
  EXPECT_EQ(AlsoTrust::parse("/odd=/ca.pem").domain, "");
}

struct Pair {
  std::unique_ptr<Stream> client, server;
};

Task<Pair> connected(Loop& loop, Address address) {
  CO_TRY(listener, Listener::open(loop, address));
  CO_TRY(client, co_await connect(listener.address(), 5s));
  CO_TRY(server, co_await listener.accept());
  co_return Pair{std::move(client), std::move(server)};
}

Task<std::string> read_text(Stream& stream, std::size_t size) {
  std::string text;
  while (text.size() < size) {
    char buffer[4096];
    CO_TRY(got, co_await stream.read_some(buffer, 5s));
    if (got == 0) break;
    text.append(buffer, got);
  }
  co_return text;
}

Task<void> echo_both_ways(Loop& loop, Address address) {
  CO_TRY(pair, co_await connected(loop, address));
  CO_TRY_DO(co_await pair.client->write_all("hello", 5s));
  CO_TRY(there, co_await read_text(*pair.server, 5));
  EXPECT_EQ(there, "hello");
  CO_TRY_DO(co_await pair.server->write_all("world", 5s));
  pair.server->shutdown_write();
  CO_TRY(back, co_await read_text(*pair.client, 100));
  EXPECT_EQ(back, "world");
  EXPECT_EQ(pair.server->peer().starts_with("127.0.0.1:"), address.unix_path.empty());
  co_return ok;
}

std::string temp_dir() { return make_temp_dir("glovebox-net"); }

TEST(Stream, CarriesBytesBothWaysOverTcp) {
  Loop loop;
  auto ran = run(loop, echo_both_ways(loop, *Address::parse("127.0.0.1:0")));
  EXPECT_TRUE(ran) << ran.error().what;
}

TEST(Stream, CarriesBytesBothWaysOverUnixSockets) {
  Loop loop;
  std::string directory = temp_dir();
  auto ran = run(loop, echo_both_ways(loop, *Address::parse("unix:" + directory + "/s")));
  EXPECT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(::rmdir(directory.c_str()), 0) << "the socket file stayed";
}

TEST(Listener, TakesTheFileOfADeadListenerButNotOfALivingOne) {
  Loop loop;
  std::string directory = temp_dir();
  Address address{.unix_path = directory + "/s"};
  {
    // As after a crash: bound, and nobody listens any more.
    Fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un un{AF_UNIX, {}};
    address.unix_path.copy(un.sun_path, sizeof un.sun_path - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&un), sizeof un), 0);
  }
  auto first = Listener::open(loop, address);
  ASSERT_TRUE(first) << first.error().what;
  auto second = Listener::open(loop, address);
  ASSERT_FALSE(second);
  first->close();
  EXPECT_EQ(::rmdir(directory.c_str()), 0);
}

Task<void> nobody_there(std::string path) {
  auto stream = co_await connect(Address{.unix_path = path}, 5s);
  EXPECT_FALSE(stream);
  EXPECT_EQ(stream.error().code, Code::unavailable);
  auto refused = co_await connect(Address{.host = "127.0.0.1", .port = 1}, 5s);
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unavailable);
  co_return ok;
}

TEST(Connect, NobodyThereIsUnavailable) {
  Loop loop;
  EXPECT_TRUE(run(loop, nobody_there("/tmp/glovebox-no-such-socket")));
}

Task<void> silent_peer(Loop& loop) {
  CO_TRY(pair, co_await connected(loop, *Address::parse("127.0.0.1:0")));
  char buffer[10];
  auto got = co_await pair.client->read_some(buffer, 1ms);
  EXPECT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::timeout);
  std::string much(16 << 20, 'x');
  auto written = co_await pair.client->write_all(much, 20ms);  // nobody reads
  EXPECT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::timeout);
  co_return ok;
}

TEST(Stream, EveryWaitHasALimit) {
  Loop loop;
  auto ran = run(loop, silent_peer(loop));
  EXPECT_TRUE(ran) << ran.error().what;
}

Task<void> read_until_told(Stream& stream, std::optional<Code>& code) {
  char buffer[10];
  auto got = co_await stream.read_some(buffer, 1h);
  code = got ? Code::internal : got.error().code;
  co_return ok;
}

Task<void> close_under_reader(Loop& loop, std::optional<Code>& code) {
  CO_TRY(pair, co_await connected(loop, *Address::parse("127.0.0.1:0")));
  TaskGroup group(loop);
  group.spawn("reader", read_until_told(*pair.client, code));
  for (int i = 0; i < 5; ++i) CO_TRY_DO(co_await yield());
  pair.client->close();
  while (!code) CO_TRY_DO(co_await yield());
  co_return ok;
}

TEST(Stream, CloseWakesWhoWaits) {
  Loop loop;
  std::optional<Code> code;
  EXPECT_TRUE(run(loop, close_under_reader(loop, code)));
  EXPECT_EQ(code, Code::cancelled);
}

Task<void> drop_under_reader(Loop& loop, std::optional<Code>& code) {
  CO_TRY(pair, co_await connected(loop, *Address::parse("127.0.0.1:0")));
  TaskGroup group(loop);
  group.spawn("reader", read_until_told(*pair.client, code));
  for (int i = 0; i < 5; ++i) CO_TRY_DO(co_await yield());
  pair.client.reset();
  while (!code) CO_TRY_DO(co_await yield());
  co_return ok;
}

TEST(Stream, MayBeDroppedWhileSomebodyReads) {
  Loop loop;
  std::optional<Code> code;
  EXPECT_TRUE(run(loop, drop_under_reader(loop, code)));
  EXPECT_EQ(code, Code::cancelled);
}

Task<void> idle_checks(Loop& loop) {
  CO_TRY(pair, co_await connected(loop, *Address::parse("127.0.0.1:0")));
  EXPECT_TRUE(pair.client->idle());
  pair.server->close();
  CO_TRY(end, co_await read_text(*pair.client, 1));
  EXPECT_EQ(end, "");
  EXPECT_FALSE(pair.client->idle());
  co_return ok;
}

// Each way in which bytes and the end can have come before, while and after somebody reads.
Task<void> read_in_all_orders(Loop& loop, Address address) {
  for (bool read_before : {false, true})
    for (bool turn_between : {false, true})
      for (bool end_at_once : {false, true}) {
        CO_TRY(pair, co_await connected(loop, address));
        if (read_before) {  // less than there is room for: nothing is left
          CO_TRY_DO(co_await pair.server->write_all("first", 5s));
          CO_TRY(first, co_await read_text(*pair.client, 5));
          EXPECT_EQ(first, "first");
          EXPECT_TRUE(pair.client->idle());
        }
        CO_TRY_DO(co_await pair.server->write_all("second", 5s));
        if (end_at_once) pair.server.reset();
        if (turn_between)
          CO_TRY_DO(co_await sleep(5ms));  // the loop hears of it while nobody reads
        CO_TRY(second, co_await read_text(*pair.client, 6));
        EXPECT_EQ(second, "second");
        if (turn_between) CO_TRY_DO(co_await sleep(5ms));
        pair.server.reset();
        for (int i = 0; i < 2; ++i) {
          CO_TRY(rest, co_await read_text(*pair.client, 1));  // the end, however often one asks
          EXPECT_EQ(rest, "");
        }
      }
  co_return ok;
}

TEST(Stream, NothingThatCameIsOverlooked) {
  for (std::string where : {std::string("127.0.0.1:0"), "unix:" + temp_dir() + "/x.sock"}) {
    Loop loop;
    auto ran = run(loop, read_in_all_orders(loop, *Address::parse(where)));
    EXPECT_TRUE(ran) << where << ": " << ran.error().what;
  }
}

// A read stops at an urgent byte, and what lies behind it makes no event of its own.
Task<void> read_past_urgent(Loop& loop, bool turn_before) {
  CO_TRY(pair, co_await connected(loop, *Address::parse("127.0.0.1:0")));
  CO_TRY_DO(co_await pair.server->write_all("before", 5s));
  EXPECT_EQ(::send(pair.server->socket(), "!", 1, MSG_OOB), 1);
  CO_TRY_DO(co_await pair.server->write_all("behind", 5s));
  if (turn_before) CO_TRY_DO(co_await sleep(5ms));
  CO_TRY(all, co_await read_text(*pair.client, 12));
  EXPECT_EQ(all, "beforebehind");
  co_return ok;
}

TEST(Stream, UrgentBytesDoNotHideWhatIsBehindThem) {
  for (bool turn_before : {false, true}) {
    Loop loop;
    auto ran = run(loop, read_past_urgent(loop, turn_before));
    EXPECT_TRUE(ran) << ran.error().what;
  }
}

Task<void> send_all(std::shared_ptr<Stream> to, std::string what) {
  CO_TRY_DO(co_await to->write_all(what, 5s));
  to->shutdown_write();
  co_return ok;
}

Task<void> stream_much(Loop& loop, Address address) {
  CO_TRY(pair, co_await connected(loop, address));
  std::string much;
  for (int i = 0; much.size() < (8u << 20); ++i) much += std::to_string(i);
  TaskGroup group(loop);
  group.spawn("send", send_all(std::move(pair.client), much));
  std::string got;
  for (std::size_t room = 1;; room = room % 9000 + 613) {  // reads that fit, and that do not
    std::string into(room, '\0');
    CO_TRY(size, co_await pair.server->read_some(into, 5s));
    if (size == 0) break;
    got.append(into, 0, size);
  }
  EXPECT_TRUE(got == much);
  co_return ok;
}

TEST(Stream, CarriesMoreThanFitsIntoTheKernel) {
  for (std::string where : {std::string("127.0.0.1:0"), "unix:" + temp_dir() + "/x.sock"}) {
    Loop loop;
    auto ran = run(loop, stream_much(loop, *Address::parse(where)));
    EXPECT_TRUE(ran) << where << ": " << ran.error().what;
  }
}

TEST(Stream, IsNotIdleWhenTheOtherSideHasClosed) {
  Loop loop;
  EXPECT_TRUE(run(loop, idle_checks(loop)));
}

// All in one turn of the loop, after a read that took all there was.
Task<void> idle_before_the_loop_hears(Loop& loop) {
  for (bool ends : {false, true}) {
    CO_TRY(pair, co_await connected(loop, *Address::parse("127.0.0.1:0")));
    CO_TRY_DO(co_await pair.server->write_all("answer", 5s));
    CO_TRY(answer, co_await read_text(*pair.client, 6));
    EXPECT_EQ(answer, "answer");
    EXPECT_TRUE(pair.client->idle());
    if (ends)
      pair.server.reset();
    else
      EXPECT_EQ(pair.server->write_now("x"), 1u);
    pollfd there{pair.client->socket(), POLLIN, 0};
    EXPECT_EQ(::poll(&there, 1, 5000), 1);
    EXPECT_FALSE(pair.client->idle()) << ends;
  }
  co_return ok;
}

TEST(Stream, IsNotIdleFromTheMomentOnThatSomethingCame) {
  Loop loop;
  EXPECT_TRUE(run(loop, idle_before_the_loop_hears(loop)));
}

// --- TLS

struct TlsEnd {
  std::unique_ptr<Stream> stream;
  Result<void> result = ok;
};

Task<void> be_server(std::unique_ptr<Stream> plain, std::shared_ptr<TlsServer> tls, TlsEnd& end) {
  auto stream = co_await tls_accept(std::move(plain), tls, 5s);
  if (stream)
    end.stream = std::move(*stream);
  else
    end.result = std::move(stream.error());
  co_return ok;
}

Task<void> tls_connection(Loop& loop, const TestCert& cert, std::string host, std::string ca_file,
                          TlsEnd& client, TlsEnd& server) {
  CO_TRY(tls, TlsServer::load(cert.cert(), cert.key()));
  CO_TRY(pair, co_await connected(loop, *Address::parse("127.0.0.1:0")));
  TaskGroup group(loop);
  group.spawn("server", be_server(std::move(pair.server), tls, server));
  auto stream = co_await tls_connect(std::move(pair.client), host, TlsClient{ca_file}, 5s);
  if (stream)
    client.stream = std::move(*stream);
  else
    client.result = std::move(stream.error());
  while (!server.stream && server.result) CO_TRY_DO(co_await yield());
  co_return ok;
}

Task<void> tls_echo(Loop& loop, const TestCert& cert, std::string host) {
  TlsEnd client, server;
  CO_TRY_DO(co_await tls_connection(loop, cert, host, cert.cert(), client, server));
  CO_TRY_DO(client.result);
  CO_TRY_DO(server.result);
  std::string much(3 << 20, 'x');
  TaskGroup group(loop);
  group.spawn("writer", client.stream->write_all(much, 10s));
  CO_TRY(there, co_await read_text(*server.stream, much.size()));
  EXPECT_EQ(there, much);
  CO_TRY_DO(co_await server.stream->write_all("world", 5s));
  EXPECT_TRUE(server.stream->idle());
  server.stream->shutdown_write();
  CO_TRY(back, co_await read_text(*client.stream, 100));
  EXPECT_EQ(back, "world");
  co_return ok;
}

TEST(Tls, CarriesBytesAndEndsCleanly) {
  TestCert cert;
  for (std::string host : {"localhost", "127.0.0.1"}) {
    Loop loop;
    auto ran = run(loop, tls_echo(loop, cert, host));
    EXPECT_TRUE(ran) << ran.error().what;
  }
}

Task<void> expect_distrust(Loop& loop, const TestCert& cert, std::string host,
                           std::string ca_file) {
  TlsEnd client, server;
  CO_TRY_DO(co_await tls_connection(loop, cert, host, ca_file, client, server));
  EXPECT_FALSE(client.result);
  if (!client.result) EXPECT_NE(client.result.error().what.find("certificate"), std::string::npos);
  EXPECT_FALSE(server.result);
  co_return ok;
}

TEST(Tls, ForeignCertificatesAndForeignNamesAreRefused) {
  TestCert cert, other;
  for (auto [host, ca_file] : {std::pair<std::string, std::string>{"localhost", ""},
                               {"localhost", other.cert()},
                               {"example.org", cert.cert()}}) {
    Loop loop;
    auto ran = run(loop, expect_distrust(loop, cert, host, ca_file));
    EXPECT_TRUE(ran) << ran.error().what;
  }
}

Task<void> cut_connection(Loop& loop, const TestCert& cert) {
  CO_TRY(tls, TlsServer::load(cert.cert(), cert.key()));
  CO_TRY(pair, co_await connected(loop, *Address::parse("127.0.0.1:0")));
  Stream* plain_server = pair.server.get();
  TlsEnd server;
  TaskGroup group(loop);
  group.spawn("server", be_server(std::move(pair.server), tls, server));
  CO_TRY(client,
         co_await tls_connect(std::move(pair.client), "localhost", TlsClient{cert.cert()}, 5s));
  while (!server.stream) CO_TRY_DO(co_await yield());
  plain_server->close();  // without close_notify
  char buffer[10];
  auto got = co_await client->read_some(buffer, 5s);
  EXPECT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::unavailable);
  co_return ok;
}

TEST(Tls, AnEndWithoutGoodbyeIsNotAnEnd) {
  TestCert cert;
  Loop loop;
  auto ran = run(loop, cut_connection(loop, cert));
  EXPECT_TRUE(ran) << ran.error().what;
}

TEST(Tls, BadFilesAreNamed) {
  TestCert one, other;
  EXPECT_FALSE(TlsServer::load("/nonexistent", one.key()));
  EXPECT_FALSE(TlsServer::load(one.cert(), "/nonexistent"));
  EXPECT_FALSE(TlsServer::load(one.cert(), other.key()));
}

}  // namespace
}  // namespace glovebox::net

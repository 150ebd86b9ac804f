// One port for plain and TLS, certificates that change, and trust in one that is not the system's.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "net/stream.h"
#include "net/task.h"
#include "net/test_cert.h"

namespace glovebox::net {
namespace {

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

Result<std::shared_ptr<TlsServer>> server_of(const TestCert& cert) {
  return TlsServer::parse(content(cert.cert()), Secret(content(cert.key())));
}

// Two ends of one connection, the server's as `accept_either` gives it.
struct Ends {
  std::unique_ptr<Stream> client;
  Accepted server;
  Result<void> refused = ok;
};

Task<void> be_server(Listener& listener, std::shared_ptr<TlsServer> tls, Ends& ends) {
  CO_TRY(stream, co_await listener.accept());
  auto accepted = co_await accept_either(std::move(stream), std::move(tls), 5s);
  if (accepted)
    ends.server = std::move(*accepted);
  else
    ends.refused = std::move(accepted.error());
  co_return ok;
}

Task<void> plain_client(Loop& loop, std::string bytes, std::shared_ptr<TlsServer> tls, Ends& ends) {
  CO_TRY(listener, Listener::open(loop, *Address::parse("127.0.0.1:0")));
  TaskGroup group(loop);
  group.spawn("server", be_server(listener, std::move(tls), ends));
  CO_TRY(client, co_await connect(listener.address(), 5s));
  CO_TRY_DO(co_await client->write_all(bytes, 5s));
  while (!ends.server.stream && ends.refused) CO_TRY_DO(co_await yield());
  ends.client = std::move(client);
  co_return ok;
}

Task<void> tls_client(Loop& loop, std::string host, TlsClient trust, std::shared_ptr<TlsServer> tls,
                      Ends& ends, Result<void>& result) {
  CO_TRY(listener, Listener::open(loop, *Address::parse("127.0.0.1:0")));
  TaskGroup group(loop);
  group.spawn("server", be_server(listener, std::move(tls), ends));
  CO_TRY(plain, co_await connect(listener.address(), 5s));
  auto client = co_await tls_connect(std::move(plain), host, std::move(trust), 5s);
  while (!ends.server.stream && ends.refused) CO_TRY_DO(co_await yield());
  if (client)
    ends.client = std::move(*client);
  else
    result = std::move(client.error());
  co_return ok;
}

Task<void> plain_is_left_alone(Loop& loop, std::shared_ptr<TlsServer> tls) {
  Ends ends;
  CO_TRY_DO(co_await plain_client(loop, "GET / HTTP/1.1\r\n", tls, ends));
  CO_TRY_DO(ends.refused);
  EXPECT_FALSE(ends.server.secure);
  char all[64];
  CO_TRY(got, co_await ends.server.stream->read_some(all, 5s));
  EXPECT_EQ(std::string(all, got), "GET / HTTP/1.1\r\n");  // the first byte is still there
  co_return ok;
}

TEST(Either, APlainClientIsLeftAsItWas) {
  TestCert cert;
  for (auto tls : {*server_of(cert), std::shared_ptr<TlsServer>()}) {
    Loop loop;
    auto ran = run(loop, plain_is_left_alone(loop, tls));
    EXPECT_TRUE(ran) << ran.error().what;
  }
}

Task<void> both_ways(Loop& loop, std::shared_ptr<TlsServer> tls, TlsClient trust) {
  Ends ends;
  Result<void> client = ok;
  CO_TRY_DO(co_await tls_client(loop, "localhost", std::move(trust), tls, ends, client));
  CO_TRY_DO(client);
  CO_TRY_DO(ends.refused);
  EXPECT_TRUE(ends.server.secure);
  EXPECT_EQ(ends.server.server_name, "localhost");
  CO_TRY_DO(co_await ends.client->write_all("hello", 5s));
  char all[64];
  CO_TRY(got, co_await ends.server.stream->read_some(all, 5s));
  EXPECT_EQ(std::string(all, got), "hello");
  co_return ok;
}

TEST(Either, ATlsClientGetsTlsAndSaysWhomItAskedFor) {
  TestCert cert;
  Loop loop;
  auto ran = run(loop, both_ways(loop, *server_of(cert), {.ca_file = cert.cert()}));
  EXPECT_TRUE(ran) << ran.error().what;
}

TEST(Either, WhatIsTrustedBesidesTheSystemMayChangeAndMayBeMissing) {
  TestCert first, second;
  std::string trusted = first.cert() + ".also";
  auto talks = [&](const TestCert& cert) {
    Loop loop;
    return run(loop, both_ways(loop, *server_of(cert), {.also_trust = trusted})).has_value();
  };
  EXPECT_FALSE(talks(first));  // no such file: only the system's
  std::filesystem::copy_file(first.cert(), trusted);
  EXPECT_TRUE(talks(first));
  EXPECT_FALSE(talks(second));
  std::filesystem::remove(trusted);
  std::filesystem::copy_file(second.cert(), trusted);
  EXPECT_TRUE(talks(second));
  EXPECT_FALSE(talks(first));
}

Task<void> garbage_is_refused(Loop& loop, std::shared_ptr<TlsServer> tls, std::string bytes) {
  Ends ends;
  CO_TRY_DO(co_await plain_client(loop, std::move(bytes), tls, ends));
  EXPECT_FALSE(ends.refused);
  co_return ok;
}

TEST(Either, WhatOnlyBeginsAsTlsIsRefused) {
  TestCert cert;
  for (std::string bytes : {std::string("\x16\x03\x01\xff\xff") + std::string(20'000, 'x'),
                            std::string("\x16GET / HTTP/1.1\r\n\r\n")}) {
    Loop loop;
    auto ran = run(loop, garbage_is_refused(loop, *server_of(cert), bytes));
    EXPECT_TRUE(ran) << ran.error().what;
  }
}

TEST(TlsServer, ChainsAndKeysThatAreNoneAreRefused) {
  TestCert one, other;
  EXPECT_TRUE(server_of(one));
  EXPECT_FALSE(TlsServer::parse("", Secret(content(one.key()))));
  EXPECT_FALSE(TlsServer::parse("nonsense", Secret(content(one.key()))));
  EXPECT_FALSE(TlsServer::parse(content(one.cert()), Secret("nonsense")));
  EXPECT_FALSE(TlsServer::parse(content(one.cert()), Secret(content(other.key()))));
  std::string cut = content(one.cert());
  EXPECT_FALSE(TlsServer::parse(cut.substr(0, cut.size() / 2), Secret(content(one.key()))));
  EXPECT_FALSE(TlsServer::parse(cut + cut.substr(0, cut.size() / 2), Secret(content(one.key()))));
}

Task<void> reach_by_name(Loop& loop, std::string name, Reach reach, Result<void>& result) {
  CO_TRY(listener, Listener::open(loop, *Address::parse("127.0.0.1:0")));
  Address address{.host = std::move(name), .port = listener.address().port};
  auto stream = co_await connect(address, 5s, reach);
  if (!stream) result = std::move(stream.error());
  co_return ok;
}

TEST(Connect, NamesBelowLocalhostAreThisMachineAndNobodyIsAsked) {
  for (std::string name : {"api.glovebox.localhost", "A.LOCALHOST", "5051-x.localhost."}) {
    Loop loop;
    Result<void> result = ok;
    auto ran = run(loop, reach_by_name(loop, name, Reach::anywhere, result));
    EXPECT_TRUE(ran && result) << name << ": " << result.error().what;
  }
  Loop loop;
  Result<void> result = ok;
  ASSERT_TRUE(run(loop, reach_by_name(loop, "x.localhost", Reach::public_only, result)));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().tag, "NOT_PUBLIC");
}

}  // namespace
}  // namespace glovebox::net

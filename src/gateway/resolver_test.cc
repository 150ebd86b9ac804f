#include "gateway/resolver.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "gateway/resolver_exchange.h"
#include "net/task.h"

namespace glovebox::gateway {
namespace {

using namespace std::string_literals;

const std::string kQuestion = "\7example\3com\0\0\1\0\1"s;
const std::string kQuery = "\x12\x34\1\0\0\1\0\0\0\0\0\0"s + kQuestion;

std::string reply_to(const std::string& query, const std::string& address) {
  std::string out = query;
  out[2] = '\x81';
  out[7] = 1;
  return out + "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4"s + address;
}

struct Socket {
  Fd fd;
  int port = 0;
};
Socket bound(int type) {
  Socket made{Fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0)), 0};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(made.fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(made.fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  if (type == SOCK_STREAM) EXPECT_EQ(::listen(made.fd.get(), 8), 0);
  made.port = ntohs(address.sin_port);
  return made;
}

Fd connected(int type, int port) {
  Fd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return fd;
}

std::string received(int fd, int limit_ms = 10'000) {
  pollfd event{fd, POLLIN, 0};
  if (::poll(&event, 1, limit_ms) <= 0) return "";
  std::string bytes(4096, '\0');
  ssize_t n = ::recv(fd, bytes.data(), bytes.size(), 0);
  bytes.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return bytes;
}

// A resolver with one box, and a name server whose answers the test makes.
class ResolverTest : public testing::Test {
 protected:
  void SetUp() override {
    server = bound(SOCK_DGRAM);
    server_streams = bound(SOCK_STREAM);
    net::Address address;
    address.host = "127.0.0.1";
    address.port = server.port;
    resolver.emplace(loop, Resolver::Options{{address}, "/dev/null"});
    thread = std::thread([this] { (void)net::run(loop, until_stopped()); });
  }
  void TearDown() override {
    loop.post([this] { stop.notify(); });
    thread.join();
  }
  Task<void> until_stopped() {
    (void)co_await stop.wait(60s);
    co_return co_await resolver->close();
  }
  Result<void> take(const std::string& line, std::vector<Fd> fds = {}) {
    Result<void> result = ok;
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    auto kept = std::make_shared<std::vector<Fd>>(std::move(fds));
    loop.post([&, kept] {
      result = resolver->take(line, std::move(*kept));
      EXPECT_EQ(::write(ends[1], "x", 1), 1);
    });
    char x;
    EXPECT_EQ(::read(ends[0], &x, 1), 1);
    ::close(ends[0]);
    ::close(ends[1]);
    return result;
  }
  void add_box(const std::string& how) {
    auto datagrams = bound(SOCK_DGRAM), streams = bound(SOCK_STREAM);
    port = datagrams.port;
    stream_port = streams.port;
    std::vector<Fd> fds;
    fds.push_back(std::move(datagrams.fd));
    fds.push_back(std::move(streams.fd));
    auto taken = take("box one " + how, std::move(fds));
    ASSERT_TRUE(taken) << taken.error().what;
    box = connected(SOCK_DGRAM, port);
  }
  // What the server hears, and who to answer.
  std::string heard() {
    std::string bytes(4096, '\0');
    pollfd event{server.fd.get(), POLLIN, 0};
    if (::poll(&event, 1, 10'000) <= 0) return "";
    peer_size = sizeof peer;
    ssize_t n = ::recvfrom(server.fd.get(), bytes.data(), bytes.size(), 0,
                           reinterpret_cast<sockaddr*>(&peer), &peer_size);
    bytes.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return bytes;
  }
  void say(const std::string& bytes) {
    ::sendto(server.fd.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&peer),
             peer_size);
  }
  void ask(const std::string& bytes = kQuery) {
    ASSERT_EQ(::send(box.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }

  net::Loop loop;
  net::Event stop;
  std::optional<Resolver> resolver;
  std::thread thread;
  Socket server, server_streams;
  Fd box;
  int port = 0, stream_port = 0;
  sockaddr_storage peer{};
  socklen_t peer_size = 0;
};

TEST_F(ResolverTest, AQuestionIsForwardedUnderAnotherIdAndItsAnswerComesBackUnderItsOwn) {
  add_box("public");
  ask();
  std::string question = heard();
  ASSERT_EQ(question.substr(2), kQuery.substr(2));
  say(reply_to(question, "\1\2\3\4"));
  EXPECT_EQ(received(box.get()), reply_to(kQuery, "\1\2\3\4"));
}

TEST_F(ResolverTest, WhatAnswersNothingThatWasAskedIsNotBelieved) {
  add_box("public");
  ask();
  std::string question = heard();
  std::string forged = reply_to(question, "\6\6\6\6");
  forged[0] = static_cast<char>(forged[0] ^ 1);
  say(forged);
  std::string other = reply_to(question, "\6\6\6\6");
  other[13] = 'x';
  say(other);
  say("noise");
  say(reply_to(question, "\1\2\3\4"));
  EXPECT_EQ(received(box.get()), reply_to(kQuery, "\1\2\3\4"));
}

TEST_F(ResolverTest, AnAnswerThatLeadsToAPrivateAddressIsNone) {
  add_box("public");
  ask();
  say(reply_to(heard(), "\12\0\0\1"s));
  std::string answer = received(box.get());
  ASSERT_GE(answer.size(), 12u);
  EXPECT_EQ(answer[3] & 0xf, 3);
  EXPECT_EQ(answer.find("\12\0\0\1"s, 12), answer.npos);
}

TEST_F(ResolverTest, UnlessTheBoxMayReachSuchAddresses) {
  add_box("any");
  ask();
  say(reply_to(heard(), "\12\0\0\1"s));
  EXPECT_EQ(received(box.get()), reply_to(kQuery, "\12\0\0\1"s));
}

TEST_F(ResolverTest, AServerThatIsSilentMakesAFailure) {
  add_box("public");
  ask();
  (void)heard();
  std::string answer = received(box.get());
  ASSERT_GE(answer.size(), 12u);
  EXPECT_EQ(answer[3] & 0xf, 2);
}

TEST_F(ResolverTest, TransfersAndAnyAreRefusedAndNobodyIsAsked) {
  add_box("public");
  std::string any = kQuery;
  any[any.size() - 3] = '\xff';
  ask(any);
  std::string answer = received(box.get());
  ASSERT_GE(answer.size(), 12u);
  EXPECT_EQ(answer[3] & 0xf, 5);
  EXPECT_EQ(received(server.fd.get(), 0), "");
}

TEST_F(ResolverTest, ABoxThatAsksTooMuchIsSlowedDown) {
  add_box("public");
  std::string any = kQuery;
  any[any.size() - 3] = '\xff';  // answered without anybody's help
  int answered = 0;
  for (int i = 0; i < 1000; ++i) {
    ask(any);
    if (!received(box.get(), 5).empty()) ++answered;
    if (answered > 0 && answered < i - 50) break;  // some went without an answer
  }
  EXPECT_LT(answered, 900);
  EXPECT_GE(answered, 100);
}

TEST_F(ResolverTest, OneThatIsGoneIsNotHeardAnyMore) {
  add_box("public");
  ASSERT_TRUE(take("gone one"));
  Fd late = connected(SOCK_DGRAM, port);
  (void)::send(late.get(), kQuery.data(), kQuery.size(), 0);
  pollfd event{late.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&event, 1, 10'000), 1);
  EXPECT_EQ(::recv(late.get(), &event, 1, 0), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
}

TEST_F(ResolverTest, ANewEngineBeginsAnewAndSeesOurEnd) {
  add_box("public");
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd near(ends[0]);
  std::vector<Fd> fds;
  fds.emplace_back(ends[1]);
  ASSERT_TRUE(take("anew", std::move(fds)));
  pollfd event{near.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&event, 1, 0), 0) << "the pipe is held";
  Fd late = connected(SOCK_DGRAM, port);
  (void)::send(late.get(), kQuery.data(), kQuery.size(), 0);
  event = {late.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&event, 1, 10'000), 1);
  EXPECT_EQ(::recv(late.get(), &event, 1, 0), -1);
}

TEST_F(ResolverTest, WordsThatAreNotTheEnginesAreRefused) {
  for (auto line : {"", "box", "box one", "box one some", "gone", "anew x", "stop"})
    EXPECT_FALSE(take(line)) << line;
  EXPECT_FALSE(take("box one public"));
}

TEST(ResolvConf, AtMostThreeServersAndOnlyAddresses) {
  auto servers = parse_resolv_conf(
      "# comment\nnameserver 10.0.0.1\n  nameserver\t::1 # local\nsearch x\nnameserver name\n"
      "nameserver 1.1.1.1\nnameserver 2.2.2.2\n");
  ASSERT_EQ(servers.size(), 3u);
  EXPECT_EQ(servers[0].host, "10.0.0.1");
  EXPECT_EQ(servers[1].host, "::1");
  EXPECT_EQ(servers[2].host, "1.1.1.1");
  EXPECT_EQ(servers[0].port, 53);
  EXPECT_TRUE(parse_resolv_conf("").empty());
}

}  // namespace
}  // namespace glovebox::gateway

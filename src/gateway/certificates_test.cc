#include "gateway/certificates.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"
#include "gateway/authority.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::gateway {
namespace {

constexpr std::string_view kDomain = "glovebox.localhost";

class FakeClock : public Clock {
 public:
  std::int64_t unix_ms() const override { return now_ms; }
  std::chrono::steady_clock::time_point monotonic() const override { return {}; }
  void pass_days(std::int64_t days) { now_ms += days * kDay * 1000; }
  std::int64_t now_ms = system_clock().unix_ms();
};

class Directory {
 public:
  Directory() : path_(make_temp_dir("glovebox-certs")) {}
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string file(std::string_view name) const { return str(path_, '/', name); }
  std::string text(std::string_view name) const {
    return sys::read_file(file(name), 1 << 20).value_or("");
  }
  unsigned mode(std::string_view name) const {
    struct stat info{};
    return ::stat(file(name).c_str(), &info) < 0 ? 0 : info.st_mode & 07777;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Task<void> serve_one(net::Listener& listener, std::shared_ptr<net::TlsServer> tls) {
  CO_TRY(stream, co_await listener.accept());
  (void)co_await net::accept_either(std::move(stream), std::move(tls), 5s);
  co_return ok;
}

Task<void> shake_hands(net::Loop& loop, std::shared_ptr<net::TlsServer> tls, std::string host,
                       std::string ca_file) {
  CO_TRY(listener, net::Listener::open(loop, *net::Address::parse("127.0.0.1:0")));
  net::TaskGroup group(loop);
  group.spawn("server", serve_one(listener, std::move(tls)));
  CO_TRY(plain, co_await net::connect(listener.address(), 5s));
  auto secured = co_await net::tls_connect(std::move(plain), host, {.ca_file = ca_file}, 5s);
  (void)co_await group.finish(5s);
  if (!secured) co_return std::move(secured.error());
  co_return ok;
}

// As a client that trusts `ca_file` sees it.
Result<void> reach(std::shared_ptr<net::TlsServer> tls, std::string host, std::string ca_file) {
  net::Loop loop;
  return net::run(loop, shake_hands(loop, std::move(tls), std::move(host), std::move(ca_file)));
}

TEST(Certificates, AreMadeAtTheFirstStartAndKept) {
  Directory dir;
  {
    auto made = Certificates::open(dir.path(), std::string(kDomain));
    ASSERT_TRUE(made) << made.error().what;
    EXPECT_TRUE(made->shown());
  }
  EXPECT_EQ(dir.mode(""), 0711u);
  EXPECT_EQ(dir.mode("tls"), 0700u);
  EXPECT_EQ(dir.mode("tls/authority.pem"), 0600u);
  EXPECT_EQ(dir.mode("tls/leaf.pem"), 0600u);
  EXPECT_EQ(dir.mode("ca.pem"), 0644u);
  EXPECT_EQ(dir.text("ca.pem").find("PRIVATE"), std::string::npos);
  std::string ca = dir.text("ca.pem"), leaf = dir.text("tls/leaf.pem");
  ASSERT_TRUE(Certificates::open(dir.path(), std::string(kDomain)));
  EXPECT_EQ(dir.text("ca.pem"), ca);
  EXPECT_EQ(dir.text("tls/leaf.pem"), leaf);
}

TEST(Certificates, AClientThatTrustsTheAuthorityReachesEveryNameOfTheDomain) {
  Directory dir;
  auto made = Certificates::open(dir.path(), std::string(kDomain));
  ASSERT_TRUE(made);
  for (std::string host : {"glovebox.localhost", "api.glovebox.localhost",
                           "5051-hook.glovebox.localhost", "localhost", "127.0.0.1", "::1"}) {
    auto reached = reach(made->shown(), host, dir.file("ca.pem"));
    EXPECT_TRUE(reached) << host << ": " << reached.error().what;
  }
  for (std::string host :
       {"example.org", "a.b.glovebox.localhost", "glovebox.localhost.example.org"})
    EXPECT_FALSE(reach(made->shown(), host, dir.file("ca.pem"))) << host;
  EXPECT_FALSE(reach(made->shown(), "api.glovebox.localhost", ""));  // without trust
}

TEST(Certificates, AStolenAuthorityIsWorthNothingForOtherNames) {
  Directory dir;
  ASSERT_TRUE(Certificates::open(dir.path(), std::string(kDomain)));
  Secret authority(dir.text("tls/authority.pem"));
  for (std::string domain : {"example.org", "evilglovebox.localhost.example.org"}) {
    auto forged = issue_leaf(authority, domain, system_clock().unix_ms() / 1000);
    ASSERT_TRUE(forged);
    auto tls = net::TlsServer::parse(forged->reveal(), *forged);
    ASSERT_TRUE(tls);
    auto reached = reach(*tls, domain, dir.file("ca.pem"));
    ASSERT_FALSE(reached) << domain;
    EXPECT_NE(reached.error().what.find("subtree"), std::string::npos) << reached.error().what;
  }
}

TEST(Certificates, WhatEndsSoonIsMadeAnewUnderTheSameAuthority) {
  Directory dir;
  FakeClock clock;
  auto made = Certificates::open(dir.path(), std::string(kDomain), clock);
  ASSERT_TRUE(made);
  std::string ca = dir.text("ca.pem"), leaf = dir.text("tls/leaf.pem");
  auto shown = made->shown();
  clock.pass_days(kLeafDays / 2);
  ASSERT_TRUE(made->renew());
  EXPECT_EQ(dir.text("tls/leaf.pem"), leaf);
  EXPECT_EQ(made->shown(), shown);
  clock.pass_days(kLeafDays / 4);
  ASSERT_TRUE(made->renew());
  EXPECT_NE(dir.text("tls/leaf.pem"), leaf);
  EXPECT_NE(made->shown(), shown);
  EXPECT_EQ(dir.text("ca.pem"), ca);
  EXPECT_TRUE(is_signed_by(dir.text("tls/leaf.pem"), ca));
}

TEST(Certificates, AnAuthorityAtItsEndKeepsItsKeyAndItsName) {
  Directory dir;
  FakeClock clock;
  auto made = Certificates::open(dir.path(), std::string(kDomain), clock);
  ASSERT_TRUE(made);
  std::string before = dir.text("ca.pem");
  clock.pass_days(kAuthorityDays - kLeafDays);
  ASSERT_TRUE(made->renew());
  std::string after = dir.text("ca.pem");
  EXPECT_NE(after, before);
  EXPECT_EQ(facts_of(after)->subject, facts_of(before)->subject);
  // Who trusts the old one goes on to: what the new one signs is signed by it, too.
  EXPECT_TRUE(is_signed_by(dir.text("tls/leaf.pem"), before));
  EXPECT_TRUE(is_signed_by(dir.text("tls/leaf.pem"), after));
}

TEST(Certificates, AnotherDomainIsAnotherAuthority) {
  Directory dir;
  ASSERT_TRUE(Certificates::open(dir.path(), std::string(kDomain)));
  std::string before = dir.text("ca.pem");
  auto made = Certificates::open(dir.path(), "boxes.example.org");
  ASSERT_TRUE(made);
  EXPECT_NE(facts_of(dir.text("ca.pem"))->subject, facts_of(before)->subject);
  EXPECT_TRUE(reach(made->shown(), "api.boxes.example.org", dir.file("ca.pem")));
}

TEST(Certificates, KilledAnywhereTheNextStartFinishes) {
  Directory whole;
  ASSERT_TRUE(Certificates::open(whole.path(), std::string(kDomain)));
  // What is there after each of the writes: the authority with its key, its certificate, the leaf.
  for (std::vector<std::string> left :
       std::vector<std::vector<std::string>>{{},
                                             {"tls/authority.pem"},
                                             {"tls/authority.pem", "ca.pem"},
                                             {"tls/authority.pem", "tls/leaf.pem"},
                                             {"ca.pem", "tls/leaf.pem"}}) {
    Directory dir;
    std::filesystem::create_directory(dir.file("tls"));
    for (const std::string& file : left)
      std::filesystem::copy_file(whole.file(file), dir.file(file));
    auto made = Certificates::open(dir.path(), std::string(kDomain));
    ASSERT_TRUE(made) << made.error().what;
    EXPECT_TRUE(reach(made->shown(), "api.glovebox.localhost", dir.file("ca.pem")));
    EXPECT_TRUE(left.empty() || left[0] != "tls/authority.pem" ||
                dir.text("ca.pem") == whole.text("ca.pem"));
  }
}

TEST(Certificates, ADamagedLeafIsMadeAnewADamagedAuthorityIsNot) {
  Directory dir;
  ASSERT_TRUE(Certificates::open(dir.path(), std::string(kDomain)));
  std::ofstream(dir.file("tls/leaf.pem")) << "nonsense";
  ASSERT_TRUE(Certificates::open(dir.path(), std::string(kDomain)));
  EXPECT_TRUE(is_for(dir.text("tls/leaf.pem"), kDomain));
  std::ofstream(dir.file("tls/authority.pem")) << "nonsense";
  auto refused = Certificates::open(dir.path(), std::string(kDomain));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().what.find("authority.pem is damaged"), std::string::npos);
}

TEST(Certificates, TheOperatorsIsShownInsteadAndABadOneChangesNothing) {
  Directory dir, other;
  auto made = Certificates::open(dir.path(), std::string(kDomain));
  ASSERT_TRUE(made && Certificates::open(other.path(), std::string(kDomain)));
  auto own = made->shown();
  Secret operators(other.text("tls/leaf.pem"));
  ASSERT_TRUE(made->use(operators));
  EXPECT_TRUE(reach(made->shown(), "api.glovebox.localhost", other.file("ca.pem")));
  EXPECT_EQ(made->complaint(), "");
  auto theirs = made->shown();
  EXPECT_FALSE(made->use(Secret("nonsense")));
  EXPECT_FALSE(made->use(Secret(dir.text("ca.pem"))));  // no key in it
  ASSERT_TRUE(made->renew());
  EXPECT_EQ(made->shown(), theirs);
  ASSERT_TRUE(made->use(Secret()));
  EXPECT_EQ(made->shown(), own);
}

TEST(Certificates, AnOperatorsCertificateForOtherNamesOrAtItsEndIsComplainedAbout) {
  Directory dir, other;
  FakeClock clock;
  auto made = Certificates::open(dir.path(), std::string(kDomain), clock);
  ASSERT_TRUE(made && Certificates::open(other.path(), "boxes.example.org"));
  ASSERT_TRUE(made->use(Secret(other.text("tls/leaf.pem"))));
  EXPECT_NE(made->complaint().find("is not for glovebox.localhost"), std::string::npos);
  ASSERT_TRUE(made->use(Secret(dir.text("tls/leaf.pem"))));
  EXPECT_EQ(made->complaint(), "");
  clock.pass_days(kLeafDays - 3);
  EXPECT_NE(made->complaint().find("within a week"), std::string::npos);
  clock.pass_days(4);
  EXPECT_NE(made->complaint().find("has ended"), std::string::npos);
}

}  // namespace
}  // namespace glovebox::gateway

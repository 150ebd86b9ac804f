#include "engine/network_policy.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace glovebox::engine {
namespace {

std::string ip(const char* text) {
  unsigned char bytes[16];
  if (::inet_pton(AF_INET, text, bytes) == 1) return {reinterpret_cast<char*>(bytes), 4};
  EXPECT_EQ(::inet_pton(AF_INET6, text, bytes), 1) << text;
  return {reinterpret_cast<char*>(bytes), 16};
}

NetworkPolicy policy(bool internet, std::vector<std::string> allow,
                     std::vector<std::string> deny = {}) {
  auto parsed = parse_policy({internet, std::move(allow), std::move(deny)});
  EXPECT_TRUE(parsed) << parsed.error().what;
  return parsed.value_or(NetworkPolicy{});
}

TEST(Rule, AddressesAndBlocksOfBothFamiliesWithAPortThatCountsForNothing) {
  struct {
    const char *rule, *first, *last;
  } cases[] = {
      {"1.2.3.4", "1.2.3.4", "1.2.3.4"},
      {"1.2.3.4:443", "1.2.3.4", "1.2.3.4"},
      {"10.0.0.0/8", "10.0.0.0", "10.255.255.255"},
      {"10.1.2.3/8:80", "10.0.0.0", "10.255.255.255"},
      {"10.1.2.3/31", "10.1.2.2", "10.1.2.3"},
      {"0.0.0.0/0", "0.0.0.0", "255.255.255.255"},
      {"192.168.128.0/17", "192.168.128.0", "192.168.255.255"},
      {"2001:db8::1", "2001:db8::1", "2001:db8::1"},
      {"[2001:db8::1]:443", "2001:db8::1", "2001:db8::1"},
      {"[2001:db8::/32]", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
      {"::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
      {"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1"},
      {"::ffff:10.0.0.0/104", "10.0.0.0", "10.255.255.255"},
  };
  for (const auto& c : cases) {
    auto range = parse_rule(c.rule);
    ASSERT_TRUE(range) << c.rule << ": " << range.error().what;
    EXPECT_EQ(range->first, ip(c.first)) << c.rule;
    EXPECT_EQ(range->last, ip(c.last)) << c.rule;
  }
}

TEST(Rule, WhatIsNoAddressIsRefusedAndHostNamesByName) {
  for (const char* name :
       {"example.com", "*.example.com", "localhost", "example.com:443", "2130706433", "0x7f000001",
        "0177.0.0.1", "127.1", "1.2.3.4.", "1.2.3"}) {
    auto range = parse_rule(name);
    ASSERT_FALSE(range) << name;
    EXPECT_EQ(range.error().code, Code::unsupported) << name;
    EXPECT_NE(range.error().what.find(name), std::string::npos);
  }
  for (const char* bad : {"1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "2001:db8::/129", "1.2.3.4/8/8",
                          "[::1", ":::", "1.2.3.4:443:1", "/8", "[]:1"}) {
    auto range = parse_rule(bad);
    ASSERT_FALSE(range) << bad;
  }
}

TEST(Ranges, AreMergedSoThatNoneTouchesAnother) {
  auto of = [](const char* rule) { return *parse_rule(rule); };
  auto out = net::merged({of("10.0.1.0/24"), of("10.0.0.0/24"), of("10.0.0.7"), of("10.9.0.0/16"),
                          of("255.255.255.255"), of("::"), of("0.0.0.0")});
  ASSERT_EQ(out.size(), 5u);
  EXPECT_EQ(out[0], (AddressRange{ip("0.0.0.0"), ip("0.0.0.0")}));
  EXPECT_EQ(out[1], (AddressRange{ip("10.0.0.0"), ip("10.0.1.255")}));
  EXPECT_EQ(out[2], (AddressRange{ip("10.9.0.0"), ip("10.9.255.255")}));
  EXPECT_EQ(out[3], (AddressRange{ip("255.255.255.255"), ip("255.255.255.255")}));
  EXPECT_EQ(out[4], (AddressRange{ip("::"), ip("::")}));
}

TEST(Policy, TheInternetIsPublicAddressesOnly) {
  auto internet = policy(true, {});
  EXPECT_TRUE(internet.link && internet.resolver && internet.internet);
  for (const char* open : {"1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.0.1", "172.32.0.1",
                           "2606:4700::1111", "2a00::1"})
    EXPECT_TRUE(internet.permits(ip(open))) << open;
  for (const char* closed :
       {"10.0.0.1",        "127.0.0.1",      "169.254.169.254", "100.100.100.200", "100.64.0.1",
        "172.16.0.1",      "172.31.255.255", "192.168.1.1",     "192.0.0.192",     "0.0.0.0",
        "224.0.0.251",     "239.1.1.1",      "255.255.255.255", "198.18.0.1",      "::1",
        "::ffff:10.0.0.1", "fd00:ec2::254",  "fe80::1",         "ff02::1",         "64:ff9b::a00:1",
        "2002:a00:1::",    "2001:db8::1",    "2001::1"})
    EXPECT_FALSE(internet.permits(ip(closed))) << closed;
}

TEST(Policy, NoneHasNoLink) {
  EXPECT_EQ(policy(false, {}), NetworkPolicy{});
  EXPECT_EQ(policy(false, {}, {"10.0.0.0/8"}), NetworkPolicy{});
  EXPECT_FALSE(NetworkPolicy{}.permits(ip("1.1.1.1")));
}

TEST(Policy, AnAllowListAllowsNothingElse) {
  auto list = policy(false, {"1.2.3.4", "9.0.0.0/8"});
  EXPECT_TRUE(list.link);
  EXPECT_FALSE(list.resolver);
  EXPECT_TRUE(list.permits(ip("1.2.3.4")) && list.permits(ip("9.255.0.1")));
  EXPECT_FALSE(list.permits(ip("1.2.3.5")) || list.permits(ip("2606:4700::1111")));
  EXPECT_TRUE(policy(true, {"1.2.3.4"}).resolver);
  EXPECT_FALSE(policy(true, {"1.2.3.4"}).permits(ip("8.8.8.8")));
}

TEST(Policy, DenyIsStronger) {
  auto list = policy(true, {"9.0.0.0/8", "10.0.0.5"}, {"9.9.0.0/16", "10.0.0.0/8"});
  EXPECT_TRUE(list.permits(ip("9.8.0.1")));
  EXPECT_FALSE(list.permits(ip("9.9.0.1")) || list.permits(ip("10.0.0.5")));
  EXPECT_TRUE(list.host.empty());
  EXPECT_FALSE(policy(true, {}, {"8.8.8.8"}).permits(ip("8.8.8.8")));
  EXPECT_TRUE(policy(true, {}, {"8.8.8.8"}).permits(ip("8.8.4.4")));
}

TEST(Policy, OnlyARuleThatLiesWithinASpecialRangeNamesIt) {
  EXPECT_TRUE(policy(false, {"10.1.0.0/16"}).permits(ip("10.1.2.3")));
  EXPECT_TRUE(policy(false, {"10.0.0.0/8"}).permits(ip("10.1.2.3")));
  EXPECT_TRUE(policy(false, {"169.254.169.254"}).permits(ip("169.254.169.254")));
  EXPECT_TRUE(policy(false, {"fd00::/8"}).permits(ip("fd00::1")));
  for (const char* wide : {"0.0.0.0/0", "8.0.0.0/5", "128.0.0.0/1"}) {
    EXPECT_FALSE(policy(false, {wide}).permits(ip("10.0.0.1"))) << wide;
    EXPECT_FALSE(policy(false, {wide}).permits(ip("192.168.0.1"))) << wide;
  }
  EXPECT_TRUE(policy(false, {"0.0.0.0/0"}).permits(ip("8.8.8.8")));
  EXPECT_FALSE(policy(false, {"::/0"}).permits(ip("fd00::1")));
}

TEST(Policy, TheHostIsNamedByOneAddress) {
  EXPECT_EQ(policy(false, {"192.168.1.5", "192.168.1.5:80", "9.9.9.9"}).host.size(), 2u);
  EXPECT_TRUE(policy(false, {"192.168.1.0/24"}).host.empty());
}

}  // namespace
}  // namespace glovebox::engine

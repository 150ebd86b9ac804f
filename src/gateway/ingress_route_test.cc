#include "gateway/ingress_route.h"

#include <gtest/gtest.h>

#include "base/str.h"

namespace glovebox::gateway {
namespace {

using To = IngressRoute::To;
constexpr const char* kId = "5gm9wex8dm6ko1ed441ym";

IngressRoute at(std::string host, std::string id = "", std::string port = "") {
  http::Headers headers;
  headers.set("Host", std::move(host));
  if (!id.empty()) headers.set("X-Tensorlake-Sandbox-Id", std::move(id));
  if (!port.empty()) headers.set("X-Tensorlake-Sandbox-Port", std::move(port));
  return route_of(headers, "glovebox.localhost",
                  [](std::string_view label) { return label == "api" || label == "sandbox"; });
}

TEST(IngressRoute, OwnHostsAreOurs) {
  for (auto host : {"glovebox.localhost", "GLOVEBOX.localhost.:9443", "localhost", "127.0.0.1:9443",
                    "10.1.2.3", "[::1]:9443"})
    EXPECT_EQ(at(host), (IngressRoute{To::own, "", 0})) << host;
}

TEST(IngressRoute, ALabelIsASandboxOrAPortOfOne) {
  for (std::string suffix :
       {".glovebox.localhost", ".glovebox.localhost:9443", ".LOCAL", ".local."}) {
    EXPECT_EQ(at("web" + suffix), (IngressRoute{To::data_plane, "web", 9501}));
    EXPECT_EQ(at(kId + suffix), (IngressRoute{To::data_plane, kId, 9501}));
    EXPECT_EQ(at("8080-web" + suffix), (IngressRoute{To::port, "web", 8080}));
    EXPECT_EQ(at("8080-my-web" + suffix), (IngressRoute{To::port, "my-web", 8080}));
    EXPECT_EQ(at(str("80-", kId) + suffix), (IngressRoute{To::port, kId, 80}));
    EXPECT_EQ(at("9501-web" + suffix), (IngressRoute{To::data_plane, "web", 9501}));
  }
}

TEST(IngressRoute, PartsHaveTheirLabelsAndOnlyBelowTheDomain) {
  EXPECT_EQ(at("api.glovebox.localhost"), (IngressRoute{To::label, "api", 0}));
  EXPECT_EQ(at("sandbox.glovebox.localhost:1"), (IngressRoute{To::label, "sandbox", 0}));
  EXPECT_EQ(at("api.local"), (IngressRoute{To::data_plane, "api", 9501}));
  EXPECT_EQ(at("80-api.glovebox.localhost"), (IngressRoute{To::port, "api", 80}));
}

TEST(IngressRoute, HeadersNameASandboxOnOwnHostsOnly) {
  EXPECT_EQ(at("127.0.0.2:9443", kId), (IngressRoute{To::data_plane, kId, 9501}));
  EXPECT_EQ(at("localhost", "web", "8080"), (IngressRoute{To::port, "web", 8080}));
  EXPECT_EQ(at("localhost", "web", "9501"), (IngressRoute{To::data_plane, "web", 9501}));
  EXPECT_EQ(at("80-web.local", kId, "22"), (IngressRoute{To::port, "web", 80}));
  EXPECT_EQ(at("evil.example", kId), IngressRoute{});
  EXPECT_EQ(at("localhost", "../x"), IngressRoute{});
  EXPECT_EQ(at("localhost", "web", "x"), IngressRoute{});
  EXPECT_EQ(at("localhost", "web", "0"), IngressRoute{});
}

TEST(IngressRoute, EverythingElseLeadsNowhere) {
  for (auto host : {"",
                    "example.com",
                    "web.example.com",
                    "a.web.glovebox.localhost",
                    ".glovebox.localhost",
                    "webglovebox.localhost",
                    "0-web.local",
                    "080-web.local",
                    "65536-web.local",
                    "-web.local",
                    "80-.local",
                    "80--web.local",
                    "8080.local",
                    "web_.local",
                    "web-.local",
                    "80-80-web.local",
                    "web.local:80x",
                    "[::1",
                    "[::1]x",
                    "web.local@evil",
                    "+80-web.local",
                    "80 -web.local",
                    "web.glovebox.localhost.evil.com",
                    "1.2.3.4.local",
                    "127.1",
                    "0x7f000001"})
    EXPECT_EQ(at(host), IngressRoute{}) << host;
}

}  // namespace
}  // namespace glovebox::gateway

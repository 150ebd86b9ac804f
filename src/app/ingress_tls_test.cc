#include "app/ingress_tls.h"

#include <gtest/gtest.h>

namespace glovebox::app {
namespace {

http::Request request(std::string host, std::string path = "/a", std::string query = "") {
  http::Request made{.method = "POST", .path = std::move(path), .query = std::move(query)};
  made.headers.set("Host", std::move(host));
  return made;
}

TEST(RedirectToTls, PlainRequestsFromElsewhereGoToTheSamePlaceOverHttps) {
  gateway::IngressClient far{.peer = "192.0.2.1:4711", .source = "192.0.2.1"};
  auto answer =
      redirect_to_tls(far, request("api.boxes.example.org:9443", "/v1/agents", "limit=1"));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 308);  // the method stays
  EXPECT_EQ(answer->headers.get("Location"),
            "https://api.boxes.example.org:9443/v1/agents?limit=1");
}

TEST(RedirectToTls, WhoIsHereOrSecureStays) {
  gateway::IngressClient here{.loopback = true}, secure{.secure = true};
  EXPECT_FALSE(redirect_to_tls(here, request("api.boxes.example.org")));
  EXPECT_FALSE(redirect_to_tls(secure, request("api.boxes.example.org")));
}

TEST(RedirectToTls, NothingThatIsNoHostStandsInItsAnswer) {
  gateway::IngressClient far;
  for (std::string host : {"", "a b", "user@host", "evil/", "a,b", "a\"b", "a\\b", "a?b", "a#b"})
    EXPECT_FALSE(redirect_to_tls(far, request(host))) << host;
}

}  // namespace
}  // namespace glovebox::app

#include "engine/api_routing.h"

#include <gtest/gtest.h>

namespace glovebox::engine {
namespace {

http::Request request(std::string path, std::string host = "127.0.0.1:8410") {
  http::Request request;
  request.method = "GET";
  request.path = std::move(path);
  request.headers.set("Host", std::move(host));
  return request;
}

std::string routed(http::Request request) {
  auto named = name_sandbox_in_path(request);
  return named ? request.path : named.error().tag;
}

TEST(Routing, TheHostNamesTheSandbox) {
  EXPECT_EQ(routed(request("/api/v1/health", "box-1.local")), "/s/box-1/api/v1/health");
  EXPECT_EQ(routed(request("/api/v1/health", "Box-1.LOCAL:8410")), "/s/box-1/api/v1/health");
  EXPECT_EQ(routed(request("/api/v1/pty/a%2Fb/ws", "5gm9wex8dm6ko1ed441ym.local")),
            "/s/5gm9wex8dm6ko1ed441ym/api/v1/pty/a%2Fb/ws");
}

TEST(Routing, TheHeaderNamesTheSandboxAndComesFirst) {
  auto by_header = request("/api/v1/health", "other.local");
  by_header.headers.set("X-Tensorlake-Sandbox-Id", "box-1");
  EXPECT_EQ(routed(by_header), "/s/box-1/api/v1/health");
}

TEST(Routing, OtherPathsAreLeftAlone) {
  for (auto path : {"/sandboxes", "/s/box/api/v1/health", "/v1/namespaces/x/sandboxes", "/api/v2/x",
                    "/api/v10", "/"})
    EXPECT_EQ(routed(request(path, "box.local")), path);
}

TEST(Routing, NoSandboxAndNoSuchSandboxAreToldApart) {
  EXPECT_EQ(routed(request("/api/v1/health")), "MISSING_SANDBOX_ID");
  EXPECT_EQ(routed(request("/api/v1/health", "localhost")), "MISSING_SANDBOX_ID");
  for (auto host : {"a.b.local", ".local", "a_b.local", "..%2f.local"})
    EXPECT_EQ(routed(request("/api/v1/health", host)), "SANDBOX_NOT_FOUND") << host;
  auto by_header = request("/api/v1/health");
  by_header.headers.set("X-Tensorlake-Sandbox-Id", "../x");
  EXPECT_EQ(routed(by_header), "SANDBOX_NOT_FOUND");
}

TEST(Routing, APortOfASandboxIsRefusedByName) {
  auto by_port = request("/api/v1/health", "box.local");
  by_port.headers.set("X-Tensorlake-Sandbox-Port", "8080");
  EXPECT_EQ(routed(by_port), "NOT_IMPLEMENTED");
  by_port.headers.set("X-Tensorlake-Sandbox-Port", "9501");
  EXPECT_EQ(routed(by_port), "/s/box/api/v1/health");
}

bool passes(std::string path, std::string authorization,
            ApiKeys keys = {Secret("key"), Secret("numbers")}) {
  auto asked = request(std::move(path));
  if (!authorization.empty()) asked.headers.set("Authorization", std::move(authorization));
  auto checked = check_key(keys, asked);
  if (!checked) EXPECT_EQ(checked.error().code, Code::unauthenticated);
  return checked.has_value();
}

TEST(Key, OnlyTheKeyPasses) {
  EXPECT_TRUE(passes("/sandboxes", "Bearer key"));
  EXPECT_TRUE(passes("/sandboxes", "bearer  key"));
  for (auto wrong : {"", "Bearer", "Bearer ", "Bearer ke", "Bearer keyx", "Bearer KEY", "Basic key",
                     "key", "Bearerkey", "Bearer key key", "Bearer numbers"})
    EXPECT_FALSE(passes("/sandboxes", wrong)) << wrong;
}

TEST(Key, OnlyHealthzIsOpen) {
  EXPECT_TRUE(passes("/healthz", ""));
  for (auto path :
       {"/healthz/", "/healthz/x", "/%68ealthz", "/metrics", "/", "/s/box/api/v1/health"})
    EXPECT_FALSE(passes(path, "")) << path;
}

TEST(Key, MetricsHaveTheirOwnBeside) {
  EXPECT_TRUE(passes("/metrics", "Bearer numbers"));
  EXPECT_TRUE(passes("/metrics", "Bearer key"));
  EXPECT_FALSE(passes("/metrics", "Bearer ",
                      {Secret("key"), Secret()}));  // no key of its own: then not an empty one
}

TEST(Key, WithoutAKeyNoneIsAskedFor) { EXPECT_TRUE(passes("/sandboxes", "", {})); }

TEST(Routing, OnlyATerminalsSocketTakesAToken) {
  EXPECT_TRUE(is_pty_socket(request("/s/box/api/v1/pty/pty-1/ws")));
  for (auto path : {"/s/box/api/v1/pty/pty-1", "/s/box/api/v1/exec/ws",
                    "/sandboxes/x/api/v1/pty/1/ws", "/s/box/api/v1/files/pty/ws"})
    EXPECT_FALSE(is_pty_socket(request(path))) << path;
}

}  // namespace
}  // namespace glovebox::engine

// What the uplink's tests share: rules behind a router, as the server finds them, and a listener as
// the engine hands one over.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "gateway/uplink.h"
#include "http/router.h"
#include "net/stream.h"
#include "net/task.h"

namespace glovebox::gateway {

template <class Rules>
http::Router router_of(const Rules& rules) {
  std::vector<http::Route> routes;
  for (const auto& rule : rules) {
    http::Route route{.method = std::string(rule.method), .pattern = std::string(rule.pattern)};
    route.handler = [](http::Request) -> Task<http::Response> { std::abort(); };
    routes.push_back(std::move(route));
  }
  return http::Router(std::move(routes));
}

// Its URL, as the box sees it.
inline std::string hand_over_listener(Uplink& uplink, const std::string& box) {
  auto fd = net::Listener::bind(net::Address{.host = "127.0.0.1"});
  EXPECT_TRUE(fd);
  sockaddr_in own{};
  socklen_t size = sizeof own;
  ::getsockname(fd->get(), reinterpret_cast<sockaddr*>(&own), &size);
  std::vector<Fd> fds;
  fds.push_back(std::move(*fd));
  auto taken = uplink.take_listener("uplink " + box, std::move(fds));
  EXPECT_TRUE(taken) << taken.error().what;
  return str("http://127.0.0.1:", ntohs(own.sin_port));
}

}  // namespace glovebox::gateway

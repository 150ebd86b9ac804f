// What the uplink's files share. Only for them.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "gateway/pace.h"
#include "gateway/uplink.h"
#include "gateway/uplink_rules.h"
#include "http/client.h"

namespace glovebox::gateway {

using Steady = std::chrono::steady_clock;

// One box, for as long as its grant lasts.
struct BoxLink {
  BoxLink(std::string of, std::shared_ptr<const Grant> with, const UplinkLimits& limits)
      : box(std::move(of)),
        grant(std::move(with)),
        pace(limits.requests_per_second, limits.burst),
        refusals(1, 5) {}
  const std::string box;
  std::shared_ptr<const Grant> grant;
  std::shared_ptr<http::Client> service;
  std::unique_ptr<http::Server> server;  // none: no listener yet
  Steady::time_point expires{};
  Pace pace;
  Pace refusals;  // told of in the log
  std::size_t streams = 0;
  bool large_body = false;
  Uplink::Status status;
};

struct Steward;  // steward_impl.h

// A box that may say one thing; or all that a steward may.
struct DoorLink {
  const std::string box;
  std::unique_ptr<http::Server> server;  // none: no listener yet
  Steady::time_point expires{};
};

struct Uplink::Impl {
  net::Loop& loop;
  const UplinkLimits limits;
  std::map<std::string, std::shared_ptr<BoxLink>, std::less<>> links;
  std::map<std::string, std::weak_ptr<http::Client>, std::less<>> services;  // by URL
  std::size_t large_bodies = 0;
  net::Event body_done;
  net::TaskGroup tasks;
  bool closing = false;
  // uplink_door.cc
  std::map<std::string, std::shared_ptr<DoorLink>, std::less<>> doors{};
  std::uint64_t hints = 0;  // begins anywhere: who waits must see that we started anew
  net::Event hinted{};
  std::size_t hearers = 0;
  Steady::time_point heard_last{};
  std::shared_ptr<Steward> steward{};  // none: doors are for hints
};

// uplink.cc
http::ServerOptions server_options(const UplinkLimits& limits);  // towards boxes
Result<void> grant_box(Uplink::Impl& impl, const std::string& box, Grant grant);
Result<Uplink::Status> renew_box(Uplink::Impl& impl, const std::string& box, std::string_view work);
void revoke_box(Uplink::Impl& impl, const std::string& box, std::string_view work);

// uplink_door.cc
std::uint64_t first_hint();
// Made or renewed.
Result<std::shared_ptr<DoorLink>> make_door(Uplink::Impl& impl, const std::string& box);
void drop_door(Uplink::Impl& impl, const std::string& box, std::string_view why);
Result<net::Address> take_door(const std::shared_ptr<Uplink::Impl>& impl,
                               const std::shared_ptr<DoorLink>& door, Fd listener);

// uplink_relay.cc
std::unique_ptr<http::Server> serve_box(const std::shared_ptr<Uplink::Impl>& impl,
                                        const std::shared_ptr<BoxLink>& link);

}  // namespace glovebox::gateway

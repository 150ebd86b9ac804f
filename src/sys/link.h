// The link of a box: a veth pair, one end of it in the box's network namespace, with an address of
// each family that nobody else has. No bridge, no ARP, no neighbour discovery, no router
// advertisements: both ends know each other by heart, and there is nothing on the wire to lie
// about.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sys/netlink.h"

namespace glovebox::sys {

using Ip4 = std::array<std::uint8_t, 4>;
using Ip6 = std::array<std::uint8_t, 16>;
using Mac = std::array<std::uint8_t, 6>;

struct LinkPlan {
  std::string name;     // of the host's end; in the box it is eth0
  Ip4 host4{}, box4{};  // a /31
  struct Six {
    Ip6 host{}, box{};  // a /127
  };
  std::optional<Six> six;  // none where the machine has no IPv6
  Mac box_mac{};
};

// `box` and `host` are route sockets of the two namespaces. The host's end is up last: a link that
// is not up is half made. After an error there is none.
Result<void> make_link(Netlink& host, Netlink& box, const LinkPlan& plan);

struct Link {
  std::string name;
  int index = 0;
  bool up = false;
};
Result<std::vector<Link>> list_links(Netlink& host, std::string_view prefix);
// All at once: one by one each would cost tens of milliseconds of the machine's network lock. Those
// that are gone already are no error.
Result<void> delete_links(Netlink& host, const std::vector<std::string>& names);

// Whether the kernel knows this kind of link at all.
Result<void> can_make_links(Netlink& host);

// Whether the socket is of the network the calling thread is in.
Result<bool> is_of_this_network(int socket);

// Whether the machine has routes of its own, other than by default, into the first `bits` bits of
// `network`: "10.0.0.0/8 dev eth0", or "".
Result<std::string> route_within(Netlink& host, Ip4 network, unsigned bits,
                                 std::string_view but_for_links);

}  // namespace glovebox::sys

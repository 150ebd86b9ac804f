// What a box may reach: the API's `network` object as ranges of addresses.
//
//   deny_out                        never, whatever else is said
//   allow_out                       these; with any of them nothing else
//   allow_internet_access           public addresses, if allow_out is empty; and the resolver
//
// The host's neighbours (private ranges, link-local, metadata, other boxes, multicast …) are
// reached only by a rule that names them: one that lies within such a range. 0.0.0.0/0 names
// nobody. The host itself is named by one address of its own and by nothing wider.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "net/address_range.h"
#include "wire/sandbox.h"

namespace glovebox::engine {

using net::AddressRange;

// An address or a CIDR block, IPv4 or IPv6, with a port that counts for nothing (as at Tensorlake).
// A host name is refused by name. IPv4 in IPv6 (::ffff:10.0.0.1) is IPv4: that is what is sent.
Result<AddressRange> parse_rule(std::string_view rule);

struct NetworkPolicy {
  bool link = false;      // without it there is nothing but loopback
  bool internet = false;  // public addresses
  bool resolver = false;
  std::vector<AddressRange> deny, named, allow;  // each of them merged; named: though special
  std::vector<std::string> host;                 // single addresses, in case they are the host's

  // What the rules say of a packet to `address`, the host's own addresses aside.
  bool permits(std::string_view address) const;
  bool operator==(const NetworkPolicy&) const = default;
};
Result<NetworkPolicy> parse_policy(const wire::Network& network);

}  // namespace glovebox::engine

// Ends TCP connections of another network from outside: what has one finds it aborted at its next
// look, and need not find out by silence.
#pragma once

#include <functional>
#include <string_view>

#include "sys/netlink.h"

namespace glovebox::sys {

// `diag` is a NETLINK_SOCK_DIAG socket of that network. Those to itself are kept, and those for
// which `keep` says so: it is given the other end's address, 4 bytes or 16. IPv4 in IPv6 is IPv4.
// How many were ended; Code::unsupported where the kernel cannot.
Result<std::size_t> end_connections(Netlink& diag,
                                    const std::function<bool(std::string_view)>& keep);

}  // namespace glovebox::sys

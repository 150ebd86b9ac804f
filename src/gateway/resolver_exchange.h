// One question put to the machine's name servers, and its answer.
#pragma once

#include <string>
#include <vector>

#include "gateway/dns_message.h"
#include "net/loop.h"
#include "net/stream.h"

namespace glovebox::gateway {

enum class Transport { datagram, stream };

// The first server that gives a whole answer; each is waited for a little, all of them not longer
// than a program waits. The answer has the query's own id.
Task<std::string> ask_servers(std::vector<net::Address> servers, dns::Query query,
                              Transport transport);

// "nameserver 192.0.2.1" lines, at most three.
std::vector<net::Address> parse_resolv_conf(std::string_view text);

}  // namespace glovebox::gateway

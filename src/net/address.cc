#include <arpa/inet.h>

#include "net/stream.h"

namespace glovebox::net {

Result<Address> Address::parse(std::string_view text) {
  Address address;
  if (text.starts_with("unix:")) {
    address.unix_path = text.substr(5);
    // sun_path holds 108 bytes, one of them the end.
    if (address.unix_path.empty() || address.unix_path.size() > 107)
      return Error{Code::invalid,
                   str("socket path of ", address.unix_path.size(), " bytes in ", text)};
    return address;
  }
  auto colon = text.rfind(':');
  if (colon == text.npos) return Error{Code::invalid, str("no port in address ", text)};
  auto port = parse_int<int>(text.substr(colon + 1));
  if (!port || *port < 0 || *port > 65535)
    return Error{Code::invalid, str("no such port in address ", text)};
  auto host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']'))
    host = host.substr(1, host.size() - 2);
  else if (host.contains(':'))
    return Error{Code::invalid, str("write the address as [", host, "]:", *port)};
  if (host.empty()) return Error{Code::invalid, str("no host in address ", text)};
  address.host = host;
  address.port = *port;
  return address;
}

bool Address::is_loopback() const {
  if (!unix_path.empty()) return true;
  in_addr v4;
  in6_addr v6;
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  if (::inet_pton(AF_INET6, host.c_str(), &v6) == 1) {
    if (IN6_IS_ADDR_V4MAPPED(&v6)) return v6.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6);
  }
  return host == "localhost";
}

std::string Address::text() const {
  if (!unix_path.empty()) return "unix:" + unix_path;
  if (host.contains(':')) return str('[', host, "]:", port);
  return str(host, ':', port);
}

}  // namespace glovebox::net

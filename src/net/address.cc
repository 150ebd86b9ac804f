#include <arpa/inet.h>

#include "net/also_trust.h"
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

AlsoTrust AlsoTrust::parse(std::string_view text) {
  const std::size_t mark = text.find("=/");
  if (text.starts_with('/') || mark == text.npos) return {.file = std::string(text), .domain = ""};
  return {.file = std::string(text.substr(mark + 1)), .domain = std::string(text.substr(0, mark))};
}

std::string AlsoTrust::text() const { return domain.empty() ? file : str(domain, '=', file); }

bool AlsoTrust::counts_for(std::string_view host) const {
  if (domain.empty()) return true;
  std::string name = lower(host);
  if (name.ends_with('.')) name.pop_back();
  if (!name.ends_with(domain)) return false;
  name.resize(name.size() - domain.size());
  return name.empty() || name.ends_with('.');
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

namespace {

struct Range4 {
  std::uint32_t start;
  int bits;
};
// https://www.iana.org/assignments/iana-ipv4-special-registry, and multicast and what is above.
constexpr Range4 kNotPublic[] = {
    {0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},  {0xa9fe0000, 16},
    {0xac100000, 12}, {0xc0000000, 24}, {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16},
    {0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 3}};

bool is_public4(std::uint32_t address) {
  for (auto [start, bits] : kNotPublic)
    if ((address ^ start) >> (32 - bits) == 0) return false;
  return true;
}

std::uint32_t v4_at(const std::uint8_t* bytes) {
  return static_cast<std::uint32_t>(bytes[0]) << 24 | static_cast<std::uint32_t>(bytes[1]) << 16 |
         static_cast<std::uint32_t>(bytes[2]) << 8 | bytes[3];
}

// Global unicast is 2000::/3; in it lie documentation, benchmarks and two ways to write an IPv4
// address.
bool is_public6(const in6_addr& address) {
  const std::uint8_t* b = address.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&address)) return is_public4(v4_at(b + 12));
  bool nat64 = v4_at(b) == 0x0064ff9b && v4_at(b + 4) == 0 && v4_at(b + 8) == 0;
  if (nat64) return is_public4(v4_at(b + 12));
  if (b[0] >> 5 != 1) return false;
  if (b[0] == 0x20 && b[1] == 0x02) return is_public4(v4_at(b + 2));  // 6to4
  std::uint32_t head = v4_at(b);
  bool special = head >> 9 == 0x20010000u >> 9;  // 2001::/23: Teredo, benchmarks, ORCHID
  bool documentation = head == 0x20010db8 || head >> 12 == 0x3fff0000u >> 12;
  return !special && !documentation;
}

}  // namespace

bool Address::is_public() const {
  in_addr v4;
  in6_addr v6;
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return is_public4(ntohl(v4.s_addr));
  if (::inet_pton(AF_INET6, host.c_str(), &v6) == 1) return is_public6(v6);
  return false;
}

std::string Address::text() const {
  if (!unix_path.empty()) return "unix:" + unix_path;
  if (host.contains(':')) return str('[', host, "]:", port);
  return str(host, ':', port);
}

}  // namespace glovebox::net

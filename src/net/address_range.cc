#include "net/address_range.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/str.h"

namespace glovebox::net {

namespace {

constexpr std::string_view kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);

// Of the IANA registries of special addresses, what is not globally reachable; and what carries
// IPv4 addresses inside (6to4, Teredo, NAT64), because nobody here could say what those lead to. In
// IPv6 only 2000::/3 is given out at all.
constexpr const char* kSpecial[] = {
    "0.0.0.0/8",        // this network
    "10.0.0.0/8",       // private
    "100.64.0.0/10",    // carriers' and boxes' own; one cloud's metadata (100.100.100.200)
    "127.0.0.0/8",      // loopback
    "169.254.0.0/16",   // link-local; clouds' metadata (169.254.169.254)
    "172.16.0.0/12",    // private
    "192.0.0.0/24",     // protocols; one cloud's metadata (192.0.0.192)
    "192.0.2.0/24",     // documentation
    "192.88.99.0/24",   // 6to4 relays
    "192.168.0.0/16",   // private
    "198.18.0.0/15",    // benchmarks
    "198.51.100.0/24",  // documentation
    "203.0.113.0/24",   // documentation
    "224.0.0.0/3",      // multicast, reserved, broadcast
    "::/3",             // unspecified, loopback, mapped IPv4, NAT64
    "2001::/23",        // protocols, Teredo
    "2001:db8::/32",    // documentation
    "2002::/16",        // 6to4
    "3fff::/20",        // documentation
    "4000::/2",         // not given out
    "8000::/1",         // not given out; private (fc00::/7), link-local, multicast
};

// Strictly as people write addresses: what leaves octal, hexadecimal or missing parts to be guessed
// is none.
std::string parse_address(const std::string& text) {
  unsigned char bytes[16];
  if (::inet_pton(AF_INET, text.c_str(), bytes) == 1) return {reinterpret_cast<char*>(bytes), 4};
  if (::inet_pton(AF_INET6, text.c_str(), bytes) == 1) return {reinterpret_cast<char*>(bytes), 16};
  return {};
}

AddressRange block_of(std::string address, unsigned bits) {
  AddressRange range{address, address};
  for (std::size_t i = 0; i < address.size(); ++i) {
    unsigned kept = std::min(8u, bits - std::min<unsigned>(bits, static_cast<unsigned>(i) * 8));
    auto mask = static_cast<unsigned char>(0xff00u >> kept);
    range.first[i] = static_cast<char>(static_cast<unsigned char>(address[i]) & mask);
    range.last[i] = static_cast<char>(static_cast<unsigned char>(address[i]) |
                                      static_cast<unsigned char>(~mask));
  }
  return range;
}

// The next address; the first one again after the last.
std::string after(std::string address) {
  for (std::size_t i = address.size(); i > 0 && ++address[i - 1] == 0;) --i;
  return address;
}

}  // namespace

std::optional<AddressRange> parse_block(std::string_view text) {
  std::size_t slash = text.find('/');
  std::string address = parse_address(std::string(text.substr(0, slash)));
  if (address.empty()) return std::nullopt;
  auto bits = static_cast<unsigned>(address.size() * 8);
  if (slash != text.npos) {
    auto given = parse_int<unsigned>(text.substr(slash + 1));
    if (!given || *given > bits) return std::nullopt;
    bits = *given;
  }
  if (address.size() == 16 && address.starts_with(kMapped) && bits >= 96) {
    address = address.substr(12);
    bits -= 96;
  }
  return block_of(std::move(address), bits);
}

std::vector<AddressRange> merged(std::vector<AddressRange> ranges) {
  std::ranges::sort(ranges, [](const auto& a, const auto& b) {
    return std::pair(a.first.size(), a.first) < std::pair(b.first.size(), b.first);
  });
  std::vector<AddressRange> out;
  for (auto& range : ranges) {
    bool joins = !out.empty() && out.back().first.size() == range.first.size() &&
                 (range.first <= out.back().last || after(out.back().last) == range.first);
    if (!joins) {
      out.push_back(std::move(range));
    } else if (out.back().last < range.last) {
      out.back().last = std::move(range.last);
    }
  }
  return out;
}

bool within(const std::vector<AddressRange>& ranges, const AddressRange& one) {
  return std::ranges::any_of(ranges, [&](const auto& range) { return range.contains(one); });
}

const std::vector<AddressRange>& special_blocks() {
  static const std::vector<AddressRange> kBlocks = [] {
    std::vector<AddressRange> blocks;
    for (const char* text : kSpecial) blocks.push_back(*parse_block(text));
    return blocks;
  }();
  return kBlocks;
}

const std::vector<AddressRange>& special_ranges() {
  static const std::vector<AddressRange> kRanges = merged(special_blocks());
  return kRanges;
}

bool is_public(std::string_view address) {
  AddressRange one{std::string(address), std::string(address)};
  return !within(special_ranges(), one);
}

}  // namespace glovebox::net

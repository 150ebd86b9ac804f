// Ranges of IP addresses, and which of them are nobody's public ones.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace glovebox::net {

// Addresses in network order: 4 bytes or 16, compared as bytes.
struct AddressRange {
  std::string first, last;
  bool operator==(const AddressRange&) const = default;
  bool contains(const AddressRange& other) const {
    return first.size() == other.first.size() && first <= other.first && other.last <= last;
  }
};

// "10.0.0.1", "10.0.0.0/8", "2001:db8::/32". IPv4 in IPv6 (::ffff:10.0.0.1) is IPv4: that is what
// is sent.
std::optional<AddressRange> parse_block(std::string_view text);
// Sorted, and none touches another.
std::vector<AddressRange> merged(std::vector<AddressRange> ranges);
bool within(const std::vector<AddressRange>& ranges, const AddressRange& one);

// What is no public address: block by block as it was given out, and merged.
const std::vector<AddressRange>& special_blocks();
const std::vector<AddressRange>& special_ranges();
bool is_public(std::string_view address);

}  // namespace glovebox::net

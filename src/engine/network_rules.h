// The rules of one instance's boxes, as a table of nftables: chains that are the same for all
// boxes, and sets with what each may reach. A change of one box's policy is a change of elements in
// one transaction, and judges the very next packet of every connection it has.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/network_policy.h"
#include "sys/nft.h"

namespace glovebox::engine {

// All links of boxes, whatever instance they are of, begin with it.
inline constexpr std::string_view kLinkPrefix = "gbx";

// What one box's policy is in the sets: (set, element).
using RuleElements = std::vector<std::pair<std::string, sys::nft::Element>>;
RuleElements rule_elements(const std::string& link, const std::vector<std::string>& addresses,
                           const NetworkPolicy& policy);

// The whole table anew. `links` is how this instance's links begin.
void write_table(sys::nft::Transaction& table, std::string_view links);
// What `before` has and `after` has not is removed, the rest added.
void write_change(sys::nft::Transaction& table, const RuleElements& before,
                  const RuleElements& after);

}  // namespace glovebox::engine

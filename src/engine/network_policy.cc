#include "engine/network_policy.h"

#include <algorithm>

namespace glovebox::engine {

namespace {

Error wrong(std::string_view rule, std::string_view why) {
  return Error{Code::invalid, str("`", json_escape(rule), "` ", why)};
}

// "[2001:db8::1]:443", "10.0.0.0/8:443", "10.0.0.1:443" without brackets and port.
std::string_view without_port(std::string_view rule) {
  auto is_port = [](std::string_view text) { return parse_int<std::uint16_t>(text).has_value(); };
  if (rule.starts_with('[')) {
    std::size_t end = rule.find(']');
    if (end == rule.npos) return rule;
    std::string_view rest = rule.substr(end + 1);
    if (rest.empty() || (rest.starts_with(':') && is_port(rest.substr(1))))
      return rule.substr(1, end - 1);
    return rule;
  }
  std::size_t colon = rule.find(':');
  bool one = colon != rule.npos && rule.find(':', colon + 1) == rule.npos;  // two: IPv6
  return one && is_port(rule.substr(colon + 1)) ? rule.substr(0, colon) : rule;
}

Result<std::vector<AddressRange>> parse_rules(const std::vector<std::string>& rules,
                                              std::string_view list) {
  std::vector<AddressRange> ranges;
  for (const auto& rule : rules) {
    TRY(range, parse_rule(rule), "network.", list);
    ranges.push_back(std::move(range));
  }
  return ranges;
}

}  // namespace

Result<AddressRange> parse_rule(std::string_view rule) {
  std::string_view text = without_port(rule);
  if (auto block = net::parse_block(text)) return std::move(*block);
  if (text.find_first_of("/:[") != text.npos) return wrong(rule, "is no address and no CIDR block");
  Error error =
      wrong(rule,
            "is a host name: names come with the egress proxy, give addresses or CIDR blocks until "
            "then");
  error.code = Code::unsupported;
  error.tag = "NOT_IMPLEMENTED";
  return error;
}

bool NetworkPolicy::permits(std::string_view address) const {
  AddressRange one{std::string(address), std::string(address)};
  if (!link || net::within(deny, one)) return false;
  if (net::within(named, one)) return true;
  if (net::within(net::special_ranges(), one)) return false;
  return internet || net::within(allow, one);
}

Result<NetworkPolicy> parse_policy(const wire::Network& network) {
  NetworkPolicy policy;
  TRY(deny, parse_rules(network.deny_out, "deny_out"));
  TRY(allow, parse_rules(network.allow_out, "allow_out"));
  policy.link = network.allow_internet_access || !allow.empty();
  if (!policy.link) return policy;
  policy.resolver = network.allow_internet_access;
  policy.internet = allow.empty();
  policy.deny = net::merged(std::move(deny));
  for (auto& range : allow) {
    if (range.first == range.last && !net::within(policy.deny, range))
      policy.host.push_back(range.first);
    (net::within(net::special_blocks(), range) ? policy.named : policy.allow)
        .push_back(std::move(range));
  }
  policy.named = net::merged(std::move(policy.named));
  policy.allow = net::merged(std::move(policy.allow));
  std::ranges::sort(policy.host);
  policy.host.erase(std::ranges::unique(policy.host).begin(), policy.host.end());
  return policy;
}

}  // namespace glovebox::engine

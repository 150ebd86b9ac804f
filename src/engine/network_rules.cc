#include "engine/network_rules.h"

#include <algorithm>
#include <map>

namespace glovebox::engine {

namespace {

namespace nft = sys::nft;
using nft::Family, nft::Key, nft::Rule, nft::Side, nft::Way;

// Refusals are answered, so that programs need not wait; but no faster than this, or a box could
// keep the host busy with them.
constexpr std::uint64_t kAnswersPerSecond = 500;
constexpr std::uint32_t kAnswersAtOnce = 200;
// New connections of one box: each costs the host a place in its table of connections for minutes.
constexpr std::uint64_t kNewPerSecond = 100;
constexpr std::uint32_t kNewAtOnce = 1000;

std::string with_family(std::string_view name, Family family) {
  return str(name, family == Family::ip ? "4" : "6");
}

void make_sets(nft::Transaction& table) {
  for (Family family : {Family::ip, Family::ip6}) {
    const Key address = family == Family::ip ? Key::ip4 : Key::ip6;
    for (auto exact : {"own", "host"})
      table.set(with_family(exact, family), {.keys = {Key::link, address}});
    for (auto ranges : {"deny", "named", "allow"})
      table.set(with_family(ranges, family), {.keys = {Key::link, address}, .ranges = true});
    table.set(with_family("special", family), {.keys = {address}, .ranges = true});
    std::vector<nft::Element> special;
    for (const auto& range : net::special_ranges())
      if (range.first.size() == (family == Family::ip ? 4 : 16))
        special.push_back({range.first, range.last});
    table.fill(with_family("special", family), special);
  }
  table.set("internet", {.keys = {Key::link}});
  table.set("pace", {.keys = {Key::link}, .rates = true});
}

// The policy of the box at one end, about the address at the other.
template <class Refuse>
void judge(nft::Transaction& table, std::string_view chain, Way box, Side other, Refuse refuse) {
  for (Family family : {Family::ip, Family::ip6}) {
    auto in = [&](std::string_view set, auto verdict) {
      table.rule(chain, [&](Rule& rule) {
        verdict(rule.in_set(box, family, other, with_family(set, family)));
      });
    };
    auto accept = [](Rule& rule) { rule.accept(); };
    in("deny", refuse);
    in("named", accept);
    table.rule(chain, [&](Rule& rule) {
      refuse(rule.in_set(family, other, with_family("special", family)));
    });
    in("allow", accept);
  }
  table.rule(chain, [&](Rule& rule) { rule.in_set(box, "internet").accept(); });
  table.rule(chain, [&](Rule& rule) { refuse(rule); });
}

}  // namespace

void write_table(nft::Transaction& table, std::string_view links) {
  table.replace_table();
  make_sets(table);

  table.chain("refuse");
  table.rule("refuse",
             [](Rule& rule) { rule.over_rate(kAnswersPerSecond, kAnswersAtOnce).drop(); });
  table.rule("refuse", [](Rule& rule) { rule.reset(); });
  table.rule("refuse", [](Rule& rule) { rule.prohibited(); });
  auto refuse = [](Rule& rule) { rule.jump("refuse"); };

  // A box speaks with its own addresses or not at all.
  table.base_chain("origin", {nft::kPrerouting, -300, "filter"});
  table.rule("origin", [&](Rule& rule) { rule.not_link(Way::in, links).accept(); });
  for (Family family : {Family::ip, Family::ip6})
    table.rule("origin", [&](Rule& rule) {
      rule.in_set(Way::in, family, Side::source, with_family("own", family)).accept();
    });
  table.rule("origin", [](Rule& rule) { rule.drop(); });

  // To the host itself: only where a rule names the very address.
  table.chain("to_host");
  for (Family family : {Family::ip, Family::ip6})
    table.rule("to_host", [&](Rule& rule) {
      rule.in_set(Way::in, family, Side::target, with_family("host", family)).accept();
    });
  table.rule("to_host", refuse);
  table.base_chain("input", {nft::kInput, 0, "filter"});
  table.rule("input", [&](Rule& rule) { rule.link(Way::in, links).jump("to_host"); });

  // From a box. Every packet is judged, also those of connections that were allowed once: that is
  // how a permission is withdrawn.
  table.chain("from_box");
  table.rule("from_box",
             [](Rule& rule) { rule.state(nft::kInvalid).drop(); });  // would leave as it is
  table.rule("from_box", [&](Rule& rule) { refuse(rule.link(Way::out, kLinkPrefix)); });
  table.rule("from_box", [](Rule& rule) {
    rule.state(nft::kNew).over_rate("pace", kNewPerSecond, kNewAtOnce).drop();
  });
  judge(table, "from_box", Way::in, Side::target, refuse);

  // To a box: answers only, and those from where it may go. What goes wrong on the way to there is
  // told by anybody's router.
  auto drop = [](Rule& rule) { rule.drop(); };
  table.chain("to_box");
  for (std::uint8_t icmp : {1, 58})
    table.rule("to_box",
               [&](Rule& rule) { rule.state(nft::kRelated).answers().protocol(icmp).accept(); });
  table.chain("answer");
  table.rule("to_box", [](Rule& rule) {
    rule.state(nft::kEstablished | nft::kRelated).answers().jump("answer");
  });
  table.rule("to_box", drop);
  judge(table, "answer", Way::out, Side::source, drop);

  table.base_chain("forward", {nft::kForward, 0, "filter"});
  table.rule("forward", [&](Rule& rule) { rule.link(Way::in, links).jump("from_box"); });
  table.rule("forward", [&](Rule& rule) { rule.link(Way::out, links).jump("to_box"); });

  table.base_chain("leave", {nft::kPostrouting, 100, "nat"});
  table.rule("leave", [&](Rule& rule) { rule.link(Way::in, links).masquerade(); });
}

RuleElements rule_elements(const std::string& link, const std::vector<std::string>& addresses,
                           const NetworkPolicy& policy) {
  RuleElements out;
  if (!policy.link) return out;
  const std::string key = sys::nft::link_key(link);
  auto family = [](const std::string& address) { return address.size() == 4 ? "4" : "6"; };
  auto ranges = [&](std::string_view set, const std::vector<AddressRange>& list) {
    for (const auto& range : list)
      out.push_back({str(set, family(range.first)), {key + range.first, key + range.last}});
  };
  for (const auto& own : addresses) out.push_back({str("own", family(own)), {key + own}});
  ranges("deny", policy.deny);
  ranges("named", policy.named);
  ranges("allow", policy.allow);
  for (const auto& host : policy.host) out.push_back({str("host", family(host)), {key + host}});
  if (policy.internet) out.push_back({"internet", {key}});
  return out;
}

void write_change(nft::Transaction& table, const RuleElements& before, const RuleElements& after) {
  auto lacking = [](const RuleElements& all, const RuleElements& in) {
    std::map<std::string, std::vector<nft::Element>> sets;
    for (const auto& [set, element] : all) {
      bool there = std::ranges::any_of(in, [&](const auto& other) {
        return other.first == set && other.second.first == element.first &&
               other.second.last == element.last;
      });
      if (!there) sets[set].push_back(element);
    }
    return sets;
  };
  // Removed first: a new range may take in an old one.
  for (const auto& [set, elements] : lacking(before, after)) table.remove(set, elements);
  for (const auto& [set, elements] : lacking(after, before)) table.add(set, elements);
}

}  // namespace glovebox::engine

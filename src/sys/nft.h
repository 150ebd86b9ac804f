// Firewall rules, said to the kernel's nftables directly: no program, no library, and one change is
// one transaction: done whole or not at all, and in effect for the next packet.
//
//   nft::Transaction change("glovebox_x1");
//   change.replace_table();
//   change.base_chain("forward", {nft::kForward, 0, "filter"});
//   change.rule("forward", [](nft::Rule& r) { r.link(nft::Way::in, "gbx").drop(); });
//   TRY_DO(change.commit());
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sys/netlink.h"

namespace glovebox::sys::nft {

// The kernel's numbers of hooks, for families ip, ip6 and inet.
inline constexpr std::uint32_t kPrerouting = 0, kInput = 1, kForward = 2, kPostrouting = 4;
struct Hook {
  std::uint32_t number;
  std::int32_t priority;
  std::string type;  // "filter" or "nat"
};

enum class Family : std::uint8_t { inet = 1, ip = 2, ip6 = 10 };
enum class Way { in, out };          // the link a packet came by, or the one it leaves by
enum class Side { source, target };  // which of its addresses

enum class Key { link, ip4, ip6 };  // what a set's elements are made of, in this order
struct SetKind {
  std::vector<Key> keys;
  bool ranges = false;  // elements are ranges of addresses
  bool rates = false;   // made by rules: see Rule::over_rate
};

// A link's name as the kernel compares it.
std::string link_key(std::string_view name);
// One element: the keys one after the other. Of a range the first and the last one.
struct Element {
  std::string first;
  std::string last = {};  // empty: like the first
};

// Says what must be true of a packet, and then what becomes of it.
class Rule {
 public:
  Rule& link(Way way, std::string_view name_begins);
  Rule& not_link(Way way, std::string_view name_begins);
  Rule& family(Family family);                                            // ip or ip6
  Rule& protocol(std::uint8_t number);                                    // TCP and so on
  Rule& in_set(Way way, std::string_view set);                            // of links
  Rule& in_set(Family family, Side side, std::string_view set);           // of addresses
  Rule& in_set(Way way, Family family, Side side, std::string_view set);  // of both
  Rule& state(std::uint32_t any_of);  // of its connection, see kEstablished
  Rule& answers();                    // it goes the way opposite to the first
  // More often than `per_second`, counted for all packets or for each link it came by (`set`).
  Rule& over_rate(std::uint64_t per_second, std::uint32_t burst);
  Rule& over_rate(std::string_view set, std::uint64_t per_second, std::uint32_t burst);

  void accept();
  void drop();
  void jump(std::string_view chain);
  void reset();       // TCP only
  void prohibited();  // an ICMP answer
  void masquerade();

 private:
  friend class Transaction;
  explicit Rule(NetlinkBatch& batch) : batch_(batch) {}
  template <class Data>
  Rule& expression(std::string_view name, Data data);
  Rule& load_link(Way way);
  Rule& load_address(Family family, Side side, std::uint32_t into);
  Rule& compare(bool equal, std::string_view value);
  Rule& lookup(std::string_view set);
  void limit(std::uint64_t per_second, std::uint32_t burst);
  void verdict(std::int32_t code, std::string_view chain = {});
  NetlinkBatch& batch_;
};

inline constexpr std::uint32_t kInvalid = 1, kEstablished = 2, kRelated = 4, kNew = 8;

class Transaction {
 public:
  explicit Transaction(std::string table, Family family = Family::inet);
  void make_table();     // if it is not there
  void replace_table();  // with an empty one
  void delete_table();   // it must be there
  void chain(std::string_view name);
  void base_chain(std::string_view name, const Hook& hook);  // accepts what no rule judged
  void set(std::string_view name, const SetKind& kind);
  void add(std::string_view set, const std::vector<Element>& elements);
  void remove(std::string_view set, const std::vector<Element>& elements);
  // Disjoint ranges of addresses, as all the elements there will ever be of a set {ip4} or {ip6}.
  void fill(std::string_view set, const std::vector<Element>& ranges);
  template <class Build>
  void rule(std::string_view chain, Build build) {
    begin_rule(chain);
    batch_.nest(4 /* NFTA_RULE_EXPRESSIONS */, [&] {
      Rule rule(batch_);
      build(rule);
    });
  }
  bool empty() const { return batch_.size() <= 1; }
  Result<void> commit();

 private:
  NetlinkBatch& message(std::uint16_t type, std::uint16_t flags, std::string about);
  void begin_rule(std::string_view chain);
  void elements(std::uint16_t type, std::uint16_t flags, std::string_view set,
                const std::vector<Element>& list);
  std::string table_;
  Family family_;
  NetlinkBatch batch_;
  std::uint32_t next_id_ = 1;
};

Result<std::set<std::string>> tables(Family family);
// A descriptor that is readable when rules were changed, by whomever; whoever reads it finds
// nothing of use.
Result<Fd> watch_changes();

}  // namespace glovebox::sys::nft

#include "engine/network_kernel.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "base/random.h"
#include "engine/claims.h"
#include "sys/connections.h"
#include "sys/inside.h"
#include "sys/namespaces.h"
#include "sys/nft.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

namespace nft = sys::nft;

constexpr std::string_view kTables = "glovebox_";
// Private addresses (RFC 4193) that never leave the machine.
constexpr sys::Ip6 kSix = {0xfd, 0x67, 0x6c, 0x6f, 0x76, 0x65};

std::uint32_t index_of(uid_t base) { return (base - Claims::kFirst) / sys::kIdsPerBox; }

sys::Ip4 plus(sys::Ip4 address, std::uint32_t n) {
  std::uint32_t number = 0;
  for (auto byte : address) number = number << 8 | byte;
  number += n;
  for (std::size_t i = 4; i-- > 0; number >>= 8)
    address[i] = static_cast<std::uint8_t>(number & 0xff);
  return address;
}

sys::Ip6 plus(sys::Ip6 address, std::uint32_t n) {
  for (std::size_t i = 16; i-- > 12; n >>= 8) address[i] = static_cast<std::uint8_t>(n & 0xff);
  return address;
}

template <class Ip>
std::string text(const Ip& address) {
  return {reinterpret_cast<const char*>(address.data()), address.size()};
}

bool has_ipv6() {
  auto off = sys::read_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", 16);
  return off && trim(*off) == "0";
}

}  // namespace

Network::Kernel::Kernel(Options options, sys::Ip4 range)
    : options_(std::move(options)), range_(range) {}

std::string Network::Kernel::table() const { return str(kTables, options_.instance); }
std::string Network::Kernel::own_links() const { return str(kLinkPrefix, options_.instance); }

std::string Network::Kernel::link_name(uid_t base) const {
  char number[8];
  std::snprintf(number, sizeof number, "%04x", index_of(base));
  return own_links() + number;
}

sys::LinkPlan Network::Kernel::plan(uid_t base) const {
  const std::uint32_t first = index_of(base) * 2;
  sys::LinkPlan plan;
  plan.name = link_name(base);
  plan.host4 = plus(range_, first);
  plan.box4 = plus(range_, first + 1);
  if (ipv6_) plan.six = {plus(kSix, first), plus(kSix, first + 1)};
  // Made up anew for each link: a copy of a box is no longer known by its original's.
  plan.box_mac = {0x02};
  std::string random = random_bytes(5);
  std::copy(random.begin(), random.end(), plan.box_mac.begin() + 1);
  return plan;
}

std::vector<std::string> Network::Kernel::addresses(uid_t base) const {
  auto made = plan(base);
  std::vector<std::string> out{text(made.box4)};
  if (made.six) out.push_back(text(made.six->box));
  return out;
}

Result<void> Network::Kernel::set_up() {
  TRY(host, sys::Netlink::open(NETLINK_ROUTE));
  TRY_DO(sys::can_make_links(host), "the kernel has no virtual links (veth)");
  ipv6_ = has_ipv6();
  TRY(lock, lock_claims(options_.claims));
  nft::Transaction change(table());
  write_table(change, own_links());
  for (const auto& [id, elements] : rules_) write_change(change, {}, elements);
  TRY_DO(change.commit(), "the kernel does not take our rules (nftables)");
  TRY_DO(turn_forwarding_on(ipv6_, guards_));
  set_up_ = true;
  return ok;
}

// The first process of a box is known by its control group: nobody else is ever in there.
Result<Fd> Network::Kernel::first_process(const std::string& id) const {
  TRY(groups, sys::BoxCgroups::find(options_.cgroups, options_.prefix, id));
  pid_t pid = groups ? groups->hand_pid() : 0;
  if (pid == 0) return Error{Code::not_found, "the box has no first process"};
  TRY(process, sys::open_process(pid));
  if (groups->hand_pid() != pid) return Error{Code::not_found, "the box has just ended"};
  return process;
}

Result<void> Network::Kernel::make_link(const std::string& id, uid_t base) {
  TRY(process, first_process(id));
  TRY(socket, sys::socket_inside(process.get(), AF_NETLINK, SOCK_RAW));
  TRY(ours, sys::is_of_this_network(socket.get()));
  if (ours) return Error{Code::internal, "the box is in the host's network"};
  TRY(host, sys::Netlink::open(NETLINK_ROUTE));
  sys::Netlink box(std::move(socket));
  auto made = sys::make_link(host, box, plan(base));
  if (!made && made.error().tag == "EEXIST") {
    // Of a box that had these ids before: its network goes later than itself.
    TRY_DO(sys::delete_links(host, {link_name(base)}));
    made = sys::make_link(host, box, plan(base));
  }
  if (made) bases_[id] = base;
  return made;
}

std::string Network::Kernel::link_of(const std::string& id) const {
  auto found = bases_.find(id);
  return found == bases_.end() ? "" : link_name(found->second);
}

Result<void> Network::Kernel::apply(const std::string& id, uid_t base,
                                    const NetworkPolicy& policy) {
  RuleElements after = rule_elements(link_name(base), addresses(base), policy);
  nft::Transaction change(table());
  write_change(change, rules_[id], after);
  TRY_DO(change.commit(), "rules of ", id);
  rules_[id] = std::move(after);
  return ok;
}

Result<void> Network::Kernel::cut(const std::string& id, const NetworkPolicy& policy) {
  TRY(process, first_process(id));
  TRY(socket, sys::socket_inside(process.get(), AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
  sys::Netlink diag(std::move(socket));
  auto ended =
      sys::end_connections(diag, [&](std::string_view address) { return policy.permits(address); });
  if (!ended) return std::move(ended.error()).with("connections of " + id);
  if (*ended > 0) log::info("network.cut", {{"sandbox", id}, {"connections", *ended}});
  return ok;
}

Result<void> Network::Kernel::forget(const std::string& id) {
  if (auto found = rules_.find(id); found != rules_.end()) {
    nft::Transaction change(table());
    write_change(change, found->second, {});
    TRY_DO(change.commit());
    rules_.erase(found);
  }
  bases_.erase(id);
  return ok;
}

Result<std::set<std::string>> Network::Kernel::sweep(const std::vector<Known>& boxes) {
  TRY(host, sys::Netlink::open(NETLINK_ROUTE));
  TRY(links, sys::list_links(host, own_links()));
  ipv6_ = has_ipv6();
  std::set<std::string> whole;
  std::vector<std::string> stale;
  for (const auto& link : links) {
    auto box = std::ranges::find_if(
        boxes, [&](const Known& known) { return link_name(known.base) == link.name; });
    // One that is not up was half made. A box that may reach nothing has none.
    bool wanted = box != boxes.end() && link.up && (box->blank || box->policy.link);
    if (wanted) {
      whole.insert(box->id);
      bases_[box->id] = box->base;
    } else {
      stale.push_back(link.name);
    }
  }
  for (const auto& box : boxes)
    if (whole.contains(box.id) && box.policy.link)
      rules_[box.id] = rule_elements(link_name(box.base), addresses(box.base), box.policy);
  if (!stale.empty()) log::info("network.swept", {{"links", stale.size()}});
  TRY_DO(sys::delete_links(host, stale));
  TRY(tables, nft::tables(nft::Family::inet));
  if (!tables.contains(table())) return whole;
  // What an earlier engine set up goes on, with today's rules; or nobody needs it any more.
  TRY_DO(whole.empty() ? release() : set_up());
  return whole;
}

Result<void> Network::Kernel::delete_links(const std::vector<std::string>& names) {
  TRY(host, sys::Netlink::open(NETLINK_ROUTE));
  return sys::delete_links(host, names);
}

Result<void> Network::Kernel::check() {
  if (!set_up_) return ok;
  TRY(tables, nft::tables(nft::Family::inet));
  if (tables.contains(table())) return ok;
  log::error("network.rules_gone", {{"table", table()}});
  return set_up();
}

Result<void> Network::Kernel::release() {
  TRY(host, sys::Netlink::open(NETLINK_ROUTE));
  TRY(links, sys::list_links(host, own_links()));
  std::vector<std::string> names;
  for (const auto& link : links) names.push_back(link.name);
  TRY_DO(sys::delete_links(host, names));
  TRY(lock, lock_claims(options_.claims));
  auto tables = nft::tables(nft::Family::inet);
  if (!tables) return ok;  // no nftables: then we have nothing there
  if (tables->contains(table())) {
    nft::Transaction change(table());
    change.delete_table();
    TRY_DO(change.commit());
  }
  set_up_ = false;
  guards_ = {};
  bool others = std::ranges::any_of(*tables, [&](const std::string& name) {
    return name.starts_with(kTables) && name != table();
  });
  return others ? ok : turn_forwarding_back();
}

}  // namespace glovebox::engine

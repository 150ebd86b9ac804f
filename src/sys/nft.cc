#include "sys/nft.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>

namespace glovebox::sys::nft {

namespace {

// Where a rule keeps what it compares: sixteen bytes for a link's name, an address behind it.
constexpr std::uint32_t kFirst = NFT_REG32_00, kAfterLink = NFT_REG32_04;
constexpr std::size_t kElementsPerMessage = 500;  // a list's length is told in 16 bits

// How programs that list rules call the types; the kernel itself keeps only the lengths.
constexpr std::uint32_t kTypeBits = 6;
std::uint32_t type_number(Key key) {
  switch (key) {
    case Key::link: return 41;
    case Key::ip4: return 7;
    case Key::ip6: return 8;
  }
  return 0;
}
std::uint32_t length_of(Key key) {
  switch (key) {
    case Key::link: return IFNAMSIZ;
    case Key::ip4: return 4;
    case Key::ip6: return 16;
  }
  return 0;
}

nfgenmsg family_header(std::uint8_t family, std::uint16_t resource = 0) {
  return {family, NFNETLINK_V0, htons(resource)};
}

std::uint16_t nft_type(std::uint16_t message) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message);
}

}  // namespace

std::string link_key(std::string_view name) {
  std::string key(name);
  key.resize(IFNAMSIZ);
  return key;
}

// --- Rule ---

template <class Data>
Rule& Rule::expression(std::string_view name, Data data) {
  batch_.nest(NFTA_LIST_ELEM,
              [&] { batch_.text(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, data); });
  return *this;
}

Rule& Rule::load_link(Way way) {
  return expression("meta", [&] {
    batch_.be32(NFTA_META_DREG, kFirst)
        .be32(NFTA_META_KEY, way == Way::in ? NFT_META_IIFNAME : NFT_META_OIFNAME);
  });
}

Rule& Rule::load_address(Family which, Side side, std::uint32_t into) {
  family(which);
  const bool six = which == Family::ip6;
  const std::uint32_t length = six ? 16 : 4;
  const std::uint32_t source = six ? 8 : 12;  // of the source address in the header
  return expression("payload", [&] {
    batch_.be32(NFTA_PAYLOAD_DREG, into)
        .be32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER)
        .be32(NFTA_PAYLOAD_OFFSET, side == Side::source ? source : source + length)
        .be32(NFTA_PAYLOAD_LEN, length);
  });
}

Rule& Rule::compare(bool equal, std::string_view value) {
  return expression("cmp", [&] {
    batch_.be32(NFTA_CMP_SREG, kFirst)
        .be32(NFTA_CMP_OP, equal ? NFT_CMP_EQ : NFT_CMP_NEQ)
        .nest(NFTA_CMP_DATA, [&] { batch_.bytes(NFTA_DATA_VALUE, value); });
  });
}

Rule& Rule::lookup(std::string_view set) {
  return expression("lookup",
                    [&] { batch_.text(NFTA_LOOKUP_SET, set).be32(NFTA_LOOKUP_SREG, kFirst); });
}

// Fewer bytes than the name has: its beginning.
Rule& Rule::link(Way way, std::string_view name_begins) {
  return load_link(way).compare(true, name_begins);
}
Rule& Rule::not_link(Way way, std::string_view name_begins) {
  return load_link(way).compare(false, name_begins);
}

Rule& Rule::family(Family family) {
  expression("meta",
             [&] { batch_.be32(NFTA_META_DREG, kFirst).be32(NFTA_META_KEY, NFT_META_NFPROTO); });
  char number = static_cast<char>(family);
  return compare(true, {&number, 1});
}

Rule& Rule::protocol(std::uint8_t number) {
  expression("meta",
             [&] { batch_.be32(NFTA_META_DREG, kFirst).be32(NFTA_META_KEY, NFT_META_L4PROTO); });
  return compare(true, {reinterpret_cast<const char*>(&number), 1});
}

Rule& Rule::in_set(Way way, std::string_view set) { return load_link(way).lookup(set); }
Rule& Rule::in_set(Family family, Side side, std::string_view set) {
  return load_address(family, side, kFirst).lookup(set);
}
Rule& Rule::in_set(Way way, Family family, Side side, std::string_view set) {
  // The link's name last: asking for the family uses its place.
  return load_address(family, side, kAfterLink).load_link(way).lookup(set);
}

Rule& Rule::state(std::uint32_t any_of) {
  expression("ct", [&] { batch_.be32(NFTA_CT_DREG, kFirst).be32(NFTA_CT_KEY, NFT_CT_STATE); });
  auto word = [&](std::uint16_t attribute, std::uint32_t value) {
    batch_.nest(attribute, [&] { batch_.u32(NFTA_DATA_VALUE, value); });
  };
  expression("bitwise", [&] {
    batch_.be32(NFTA_BITWISE_SREG, kFirst).be32(NFTA_BITWISE_DREG, kFirst);
    batch_.be32(NFTA_BITWISE_LEN, 4);
    word(NFTA_BITWISE_MASK, any_of);
    word(NFTA_BITWISE_XOR, 0);
  });
  return compare(false, std::string_view("\0\0\0\0", 4));
}

Rule& Rule::answers() {
  expression("ct", [&] { batch_.be32(NFTA_CT_DREG, kFirst).be32(NFTA_CT_KEY, NFT_CT_DIRECTION); });
  return compare(true, "\1");
}

void Rule::limit(std::uint64_t per_second, std::uint32_t burst) {
  batch_.be64(NFTA_LIMIT_RATE, per_second)
      .be64(NFTA_LIMIT_UNIT, 1)
      .be32(NFTA_LIMIT_BURST, burst)
      .be32(NFTA_LIMIT_TYPE, NFT_LIMIT_PKTS)
      .be32(NFTA_LIMIT_FLAGS, NFT_LIMIT_F_INV);
}

Rule& Rule::over_rate(std::uint64_t per_second, std::uint32_t burst) {
  return expression("limit", [&] { limit(per_second, burst); });
}

Rule& Rule::over_rate(std::string_view set, std::uint64_t per_second, std::uint32_t burst) {
  load_link(Way::in);
  return expression("dynset", [&] {
    batch_.text(NFTA_DYNSET_SET_NAME, set)
        .be32(NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE)
        .be32(NFTA_DYNSET_SREG_KEY, kFirst)
        .nest(NFTA_DYNSET_EXPR, [&] {
          batch_.text(NFTA_EXPR_NAME, "limit").nest(NFTA_EXPR_DATA, [&] {
            limit(per_second, burst);
          });
        });
  });
}

void Rule::verdict(std::int32_t code, std::string_view chain) {
  expression("immediate", [&] {
    batch_.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT).nest(NFTA_IMMEDIATE_DATA, [&] {
      batch_.nest(NFTA_DATA_VERDICT, [&] {
        batch_.be32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(code));
        if (!chain.empty()) batch_.text(NFTA_VERDICT_CHAIN, chain);
      });
    });
  });
}

void Rule::accept() { verdict(NF_ACCEPT); }
void Rule::drop() { verdict(NF_DROP); }
void Rule::jump(std::string_view chain) { verdict(NFT_JUMP, chain); }

void Rule::reset() {
  protocol(IPPROTO_TCP).expression("reject", [&] {
    batch_.be32(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST);
  });
}
void Rule::prohibited() {
  expression("reject", [&] {
    batch_.be32(NFTA_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH)
        .u8(NFTA_REJECT_ICMP_CODE, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
  });
}
void Rule::masquerade() {
  expression("masq", [] {});
}

// --- Transaction ---

Transaction::Transaction(std::string table, Family family)
    : table_(std::move(table)), family_(family) {
  batch_.message(NFNL_MSG_BATCH_BEGIN, 0, family_header(AF_UNSPEC, NFNL_SUBSYS_NFTABLES),
                 "rules of " + table_);
}

NetlinkBatch& Transaction::message(std::uint16_t type, std::uint16_t flags, std::string about) {
  return batch_.message(nft_type(type), flags, family_header(static_cast<std::uint8_t>(family_)),
                        std::move(about));
}

void Transaction::make_table() {
  message(NFT_MSG_NEWTABLE, NLM_F_CREATE, "make table " + table_).text(NFTA_TABLE_NAME, table_);
}
void Transaction::delete_table() {
  message(NFT_MSG_DELTABLE, 0, "delete table " + table_).text(NFTA_TABLE_NAME, table_);
}
void Transaction::replace_table() {
  make_table();  // so that there is one to delete
  delete_table();
  make_table();
}

void Transaction::chain(std::string_view name) {
  message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, str("chain ", name))
      .text(NFTA_CHAIN_TABLE, table_)
      .text(NFTA_CHAIN_NAME, name);
}

void Transaction::base_chain(std::string_view name, const Hook& hook) {
  chain(name);
  batch_
      .nest(NFTA_CHAIN_HOOK,
            [&] {
              batch_.be32(NFTA_HOOK_HOOKNUM, hook.number)
                  .be32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(hook.priority));
            })
      .be32(NFTA_CHAIN_POLICY, NF_ACCEPT)
      .text(NFTA_CHAIN_TYPE, hook.type);
}

void Transaction::set(std::string_view name, const SetKind& kind) {
  std::uint32_t flags = 0, type = 0, length = 0;
  const bool joined = kind.keys.size() > 1;
  for (Key key : kind.keys) {
    type = type << kTypeBits | type_number(key);
    length += length_of(key);
  }
  if (kind.ranges) flags |= NFT_SET_INTERVAL;
  if (joined && kind.ranges) flags |= NFT_SET_CONCAT;
  if (kind.rates) flags |= NFT_SET_EVAL;
  message(NFT_MSG_NEWSET, NLM_F_CREATE, str("set ", name))
      .text(NFTA_SET_TABLE, table_)
      .text(NFTA_SET_NAME, name)
      .be32(NFTA_SET_FLAGS, flags)
      .be32(NFTA_SET_KEY_TYPE, type)
      .be32(NFTA_SET_KEY_LEN, length)
      .be32(NFTA_SET_ID, next_id_++);
  if (joined && kind.ranges)
    batch_.nest(NFTA_SET_DESC, [&] {
      batch_.nest(NFTA_SET_DESC_CONCAT, [&] {
        for (Key key : kind.keys)
          batch_.nest(NFTA_LIST_ELEM, [&] { batch_.be32(NFTA_SET_FIELD_LEN, length_of(key)); });
      });
    });
  if (kind.rates) batch_.nest(NFTA_SET_DESC, [&] { batch_.be32(NFTA_SET_DESC_SIZE, 65'535); });
}

void Transaction::elements(std::uint16_t type, std::uint16_t flags, std::string_view set,
                           const std::vector<Element>& list) {
  for (std::size_t at = 0; at < list.size(); at += kElementsPerMessage) {
    message(type, flags, str("elements of ", set))
        .text(NFTA_SET_ELEM_LIST_TABLE, table_)
        .text(NFTA_SET_ELEM_LIST_SET, set);
    batch_.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
      for (std::size_t i = at; i < std::min(list.size(), at + kElementsPerMessage); ++i)
        batch_.nest(NFTA_LIST_ELEM, [&] {
          auto put = [&](std::uint16_t attribute, const std::string& key) {
            batch_.nest(attribute, [&] { batch_.bytes(NFTA_DATA_VALUE, key); });
          };
          put(NFTA_SET_ELEM_KEY, list[i].first);
          if (!list[i].last.empty()) put(NFTA_SET_ELEM_KEY_END, list[i].last);
        });
    });
  }
}

void Transaction::add(std::string_view set, const std::vector<Element>& list) {
  elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, list);
}
void Transaction::remove(std::string_view set, const std::vector<Element>& list) {
  elements(NFT_MSG_DELSETELEM, 0, set, list);
}

void Transaction::fill(std::string_view set, const std::vector<Element>& ranges) {
  message(NFT_MSG_NEWSETELEM, NLM_F_CREATE, str("elements of ", set))
      .text(NFTA_SET_ELEM_LIST_TABLE, table_)
      .text(NFTA_SET_ELEM_LIST_SET, set);
  batch_.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
    auto put = [&](const std::string& key, std::uint32_t flags) {
      batch_.nest(NFTA_LIST_ELEM, [&] {
        if (flags) batch_.be32(NFTA_SET_ELEM_FLAGS, flags);
        batch_.nest(NFTA_SET_ELEM_KEY, [&] { batch_.bytes(NFTA_DATA_VALUE, key); });
      });
    };
    for (const Element& range : ranges) {
      put(range.first, 0);
      // Here a range is told by its beginning and by what comes after it, if anything does.
      std::string after = range.last.empty() ? range.first : range.last;
      std::size_t i = after.size();
      while (i > 0 && ++after[i - 1] == 0) --i;
      if (i > 0) put(after, NFT_SET_ELEM_INTERVAL_END);
    }
  });
}

void Transaction::begin_rule(std::string_view chain) {
  message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, str("rule of ", chain))
      .text(NFTA_RULE_TABLE, table_)
      .text(NFTA_RULE_CHAIN, chain);
}

Result<void> Transaction::commit() {
  if (empty()) return ok;
  batch_.want_answer();
  batch_.message(NFNL_MSG_BATCH_END, 0, family_header(AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
  TRY(netlink, Netlink::open(NETLINK_NETFILTER));
  return netlink.apply(std::move(batch_));
}

Result<std::set<std::string>> tables(Family family) {
  TRY(netlink, Netlink::open(NETLINK_NETFILTER));
  NetlinkBatch ask;
  ask.message(nft_type(NFT_MSG_GETTABLE), NLM_F_DUMP,
              family_header(static_cast<std::uint8_t>(family)), "list tables");
  TRY(messages, netlink.dump(std::move(ask)));
  std::set<std::string> names;
  for (const auto& message : messages) {
    if (message.payload.size() < sizeof(nfgenmsg)) continue;
    each_attribute(std::string_view(message.payload).substr(sizeof(nfgenmsg)),
                   [&](std::uint16_t type, std::string_view value) {
                     if (type == NFTA_TABLE_NAME) names.insert(std::string(value.data()));
                   });
  }
  return names;
}

Result<Fd> watch_changes() {
  Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
  if (!socket) return sys_error("netlink");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1u << (NFNLGRP_NFTABLES - 1);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return sys_error("listen for changes of rules");
  return socket;
}

}  // namespace glovebox::sys::nft

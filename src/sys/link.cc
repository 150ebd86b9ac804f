#include "sys/link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>

namespace glovebox::sys {

namespace {

constexpr std::uint32_t kGroup = 0x67626f78;  // of links about to be deleted together
constexpr Mac kHostMac = {0x02, 0x67, 0x62, 0x00, 0x00, 0x01};
constexpr const char* kBoxEnd = "eth0";

template <class Bytes>
std::string_view view(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<Link> find_link(Netlink& netlink, const std::string& name) {
  NetlinkBatch ask;
  ask.message(RTM_GETLINK, 0, ifinfomsg{}, "find link " + name).text(IFLA_IFNAME, name);
  TRY(found, netlink.dump(std::move(ask)));
  if (found.empty() || found[0].payload.size() < sizeof(ifinfomsg))
    return Error{Code::not_found, "no link " + name};
  ifinfomsg info;
  std::memcpy(&info, found[0].payload.data(), sizeof info);
  return Link{name, info.ifi_index, (info.ifi_flags & IFF_UP) != 0};
}

struct End {
  int index;
  Ip4 own4, other4;
  std::optional<Ip6> own6, other6;
  Mac other_mac;
  bool default_route;
};

template <class Ip>
constexpr unsigned char family_of() {
  return sizeof(Ip) == 4 ? AF_INET : AF_INET6;
}

template <class Ip>
void put_address(NetlinkBatch& batch, const End& end, const Ip& own, const Ip& other) {
  const auto index = static_cast<std::uint32_t>(end.index);
  constexpr std::uint16_t kMake = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  ifaddrmsg address{};
  address.ifa_family = family_of<Ip>();
  address.ifa_prefixlen = sizeof(Ip) * 8 - 1;
  address.ifa_index = index;
  // Nobody else can have it, and probing would keep it from working for a second.
  batch.message(RTM_NEWADDR, kMake, address, "address")
      .bytes(IFA_LOCAL, view(own))
      .bytes(IFA_ADDRESS, view(own))
      .u32(IFA_FLAGS, sizeof(Ip) == 16 ? IFA_F_NODAD | IFA_F_PERMANENT : IFA_F_PERMANENT);
  ndmsg neighbour{};
  neighbour.ndm_family = family_of<Ip>();
  neighbour.ndm_ifindex = end.index;
  neighbour.ndm_state = NUD_PERMANENT;
  batch.message(RTM_NEWNEIGH, kMake, neighbour, "neighbour")
      .bytes(NDA_DST, view(other))
      .bytes(NDA_LLADDR, view(end.other_mac));
}

template <class Ip>
void put_default_route(NetlinkBatch& batch, const End& end, const Ip& gateway) {
  rtmsg route{};
  route.rtm_family = family_of<Ip>();
  route.rtm_table = RT_TABLE_MAIN;
  route.rtm_protocol = RTPROT_STATIC;
  route.rtm_scope = RT_SCOPE_UNIVERSE;
  route.rtm_type = RTN_UNICAST;
  batch.message(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, route, "default route")
      .bytes(RTA_GATEWAY, view(gateway))
      .u32(RTA_OIF, static_cast<std::uint32_t>(end.index));
}

// Addresses, neighbours, up, routes: in the order in which each needs the one before it.
Result<void> configure(Netlink& netlink, const End& end) {
  NetlinkBatch batch;
  ifinfomsg link{};
  link.ifi_index = end.index;
  if (end.own6) {
    // No link-local address either: there would be a second or two of probing, and nobody needs it.
    batch.message(RTM_SETLINK, NLM_F_ACK, link, "address mode").nest(IFLA_AF_SPEC, [&] {
      batch.nest(AF_INET6, [&] { batch.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE); });
    });
  }
  put_address(batch, end, end.own4, end.other4);
  if (end.own6) put_address(batch, end, *end.own6, *end.other6);
  link.ifi_flags = IFF_UP;
  link.ifi_change = IFF_UP;
  batch.message(RTM_SETLINK, NLM_F_ACK, link, "raise link");
  if (end.default_route) {
    put_default_route(batch, end, end.other4);
    if (end.own6) put_default_route(batch, end, *end.other6);
  }
  return netlink.apply(std::move(batch));
}

Result<void> make_pair(Netlink& box, const LinkPlan& plan) {
  Fd own(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!own) return sys_error("open own network namespace");
  NetlinkBatch batch;
  // Asked for from inside, so that the ends are in their places from the first moment.
  batch.message(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{}, "make veth")
      .text(IFLA_IFNAME, kBoxEnd)
      .bytes(IFLA_ADDRESS, view(plan.box_mac))
      .nest(IFLA_LINKINFO, [&] {
        batch.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, [&] {
          batch.nest(VETH_INFO_PEER, [&] {
            batch.raw(ifinfomsg{})
                .text(IFLA_IFNAME, plan.name)
                .bytes(IFLA_ADDRESS, view(kHostMac))
                .u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(own.get()));
          });
        });
      });
  return box.apply(std::move(batch));
}

Result<void> configure_pair(Netlink& host, Netlink& box, const LinkPlan& plan) {
  TRY(inner, find_link(box, kBoxEnd));
  TRY(outer, find_link(host, plan.name));
  End box_end{inner.index, plan.box4, plan.host4, {}, {}, kHostMac, true};
  End host_end{outer.index, plan.host4, plan.box4, {}, {}, plan.box_mac, false};
  if (plan.six) {
    box_end.own6 = host_end.other6 = plan.six->box;
    box_end.other6 = host_end.own6 = plan.six->host;
  }
  TRY_DO(configure(box, box_end), "the box's end");
  return configure(host, host_end);
}

}  // namespace

Result<void> make_link(Netlink& host, Netlink& box, const LinkPlan& plan) {
  TRY_DO(make_pair(box, plan), "link ", plan.name);
  auto configured = configure_pair(host, box, plan);
  if (configured) return ok;
  (void)delete_links(host, {plan.name});
  return std::move(configured.error()).with("link " + plan.name);
}

Result<std::vector<Link>> list_links(Netlink& host, std::string_view prefix) {
  NetlinkBatch ask;
  ask.message(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{}, "list links");
  TRY(messages, host.dump(std::move(ask)));
  std::vector<Link> links;
  for (const auto& message : messages) {
    ifinfomsg info;
    if (message.type != RTM_NEWLINK || message.payload.size() < sizeof info) continue;
    std::memcpy(&info, message.payload.data(), sizeof info);
    Link link{{}, info.ifi_index, (info.ifi_flags & IFF_UP) != 0};
    each_attribute(std::string_view(message.payload).substr(sizeof info),
                   [&](std::uint16_t type, std::string_view value) {
                     if (type == IFLA_IFNAME) link.name = std::string(value.data());
                   });
    if (link.name.starts_with(prefix)) links.push_back(std::move(link));
  }
  return links;
}

Result<void> delete_links(Netlink& host, const std::vector<std::string>& names) {
  std::size_t marked = 0;
  for (const auto& name : names) {
    NetlinkBatch mark;
    mark.message(RTM_SETLINK, NLM_F_ACK, ifinfomsg{}, "mark link " + name)
        .text(IFLA_IFNAME, name)
        .u32(IFLA_GROUP, kGroup);
    auto done = host.apply(std::move(mark));
    if (!done && done.error().code != Code::not_found && done.error().tag != "ENODEV") return done;
    if (done) ++marked;
  }
  if (marked == 0) return ok;
  NetlinkBatch remove;
  remove.message(RTM_DELLINK, NLM_F_ACK, ifinfomsg{}, "delete links").u32(IFLA_GROUP, kGroup);
  auto done = host.apply(std::move(remove));
  // A box's end takes ours with it: it may have gone a moment ago.
  if (!done && done.error().code != Code::not_found && done.error().tag != "ENODEV") return done;
  return ok;
}

Result<void> can_make_links(Netlink& host) {
  NetlinkBatch batch;
  // With a peer in no namespace at all: it cannot succeed, and fails otherwise where there is veth.
  batch.message(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{}, "make veth")
      .nest(IFLA_LINKINFO, [&] {
        batch.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, [&] {
          batch.nest(VETH_INFO_PEER,
                     [&] { batch.raw(ifinfomsg{}).u32(IFLA_NET_NS_FD, ~std::uint32_t{0}); });
        });
      });
  auto tried = host.apply(std::move(batch));
  if (!tried && (tried.error().tag == "EOPNOTSUPP" || tried.error().tag == "EPERM"))
    return std::move(tried.error());
  return ok;
}

Result<bool> is_of_this_network(int socket) {
  Fd there(::ioctl(socket, SIOCGSKNS));
  if (!there) return sys_error("network of a socket");
  struct stat its{}, ours{};
  if (::fstat(there.get(), &its) < 0 || ::stat("/proc/thread-self/ns/net", &ours) < 0)
    return sys_error("compare networks");
  return its.st_ino == ours.st_ino && its.st_dev == ours.st_dev;
}

Result<std::string> route_within(Netlink& host, Ip4 network, unsigned bits,
                                 std::string_view but_for_links) {
  NetlinkBatch ask;
  rtmsg header{};
  header.rtm_family = AF_INET;
  ask.message(RTM_GETROUTE, NLM_F_DUMP, header, "list routes");
  TRY(messages, host.dump(std::move(ask)));
  auto number = [](std::string_view bytes) {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
    return ntohl(value);
  };
  TRY(ours, list_links(host, but_for_links));
  for (const auto& message : messages) {
    if (message.type != RTM_NEWROUTE || message.payload.size() < sizeof header) continue;
    std::memcpy(&header, message.payload.data(), sizeof header);
    if (header.rtm_dst_len == 0) continue;
    std::uint32_t destination = 0, out = 0;
    each_attribute(std::string_view(message.payload).substr(sizeof header),
                   [&](std::uint16_t type, std::string_view value) {
                     if (type == RTA_DST) destination = number(value);
                     if (type == RTA_OIF && value.size() >= 4) std::memcpy(&out, value.data(), 4);
                   });
    if (std::ranges::any_of(ours, [&](const Link& l) { return l.index == static_cast<int>(out); }))
      continue;
    unsigned shared = std::min<unsigned>(bits, header.rtm_dst_len);
    std::uint32_t mask = shared == 0 ? 0 : ~std::uint32_t{0} << (32 - shared);
    if ((destination & mask) != (number(view(network)) & mask)) continue;
    char text[INET_ADDRSTRLEN];
    std::uint32_t wire = htonl(destination);
    ::inet_ntop(AF_INET, &wire, text, sizeof text);
    return str(text, "/", header.rtm_dst_len);
  }
  return std::string();
}

}  // namespace glovebox::sys

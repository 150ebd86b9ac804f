#include "sys/connections.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <string>

namespace glovebox::sys {

namespace {

constexpr std::string_view kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
constexpr std::string_view kLoopback6("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
constexpr std::uint32_t kStates = ~(1u << TCP_LISTEN | 1u << TCP_TIME_WAIT | 1u << TCP_CLOSE);

std::string address(const inet_diag_msg& socket, const __be32 (&words)[4]) {
  std::string bytes(reinterpret_cast<const char*>(words), socket.idiag_family == AF_INET ? 4 : 16);
  return bytes.starts_with(kMapped) ? bytes.substr(12) : bytes;
}

}  // namespace

Result<std::size_t> end_connections(Netlink& diag,
                                    const std::function<bool(std::string_view)>& keep) {
  NetlinkBatch end;
  for (auto family : {AF_INET, AF_INET6}) {
    inet_diag_req_v2 all{};
    all.sdiag_family = static_cast<std::uint8_t>(family);
    all.sdiag_protocol = IPPROTO_TCP;
    all.idiag_states = kStates;
    NetlinkBatch ask;
    ask.message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, all, "list connections");
    TRY(found, diag.dump(std::move(ask)));
    for (const auto& message : found) {
      inet_diag_msg socket;
      if (message.payload.size() < sizeof socket) continue;
      std::memcpy(&socket, message.payload.data(), sizeof socket);
      std::string own = address(socket, socket.id.idiag_src);
      std::string other = address(socket, socket.id.idiag_dst);
      bool inside = own == other || other == kLoopback6 || (other.size() == 4 && other[0] == 127);
      if (inside || keep(other)) continue;
      inet_diag_req_v2 one = all;
      one.id = socket.id;
      end.message(SOCK_DESTROY, NLM_F_ACK, one, "end a connection");
    }
  }
  const std::size_t count = end.size();
  auto done = diag.apply(std::move(end));
  // Others may have ended in the meantime by themselves.
  if (!done && done.error().tag != "ENOENT") return std::move(done.error());
  return count;
}

}  // namespace glovebox::sys

// Whole messages with descriptors beside them, over a SEQPACKET socket.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

struct Packet {
  std::string bytes;  // empty: the other side has gone
  std::vector<Fd> fds;
};
Result<void> send_packet(int socket, std::string_view bytes, const std::vector<int>& fds,
                         int flags);
// A message longer than `limit`, or with more descriptors than `max_fds`, is an error.
// Code::exhausted: nothing there on a socket that does not block.
Result<Packet> receive_packet(int socket, std::size_t limit, std::size_t max_fds);

}  // namespace glovebox::sys

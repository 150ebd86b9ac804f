// Who connected to a socket of ours: only root (the engine) and our own user are listened to.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

namespace glovebox::gateway {

inline bool is_trusted(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

}  // namespace glovebox::gateway

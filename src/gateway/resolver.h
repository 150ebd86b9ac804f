// Names for boxes: forwards their questions to the machine's own name servers. The engine opens the
// sockets inside each box's network and hands them over, so who asks is known by where it is heard.
//
// It is a forwarder and no cache. What it adds: a rate for each box, only questions that programs
// ask, a new id and a new port for each, only answers to what was asked, and no answer that leads a
// box to an address nobody could mean in public (unless its policy names such addresses).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "net/loop.h"
#include "net/stream.h"

namespace glovebox::gateway {

class Resolver {
 public:
  struct Options {
    std::vector<net::Address> servers;  // empty: those of `resolv_conf`, looked at again from time
                                        // to time
    std::string resolv_conf = "/etc/resolv.conf";
  };
  Resolver(net::Loop& loop, Options options);
  ~Resolver();

  // What the engine hands over (engine/resolver_link.cc says it):
  //   "anew" and a pipe, kept open: all of before is forgotten; at the pipe's end we are gone
  //   "box ID public|any" and two sockets, for datagrams and listening: any: also private addresses
  //   "gone ID"
  Result<void> take(const std::string& line, std::vector<Fd> fds);
  Task<void> close();

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace glovebox::gateway

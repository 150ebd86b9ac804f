// The resolver's sockets in boxes: opened by us, because only we can, and handed over to the
// resolver, which is a process without rights. They stand at 127.0.0.53 inside each box that may
// ask for names; a box has them only while there is a resolver, so that without one names fail at
// once.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/fd.h"
#include "net/loop.h"

namespace glovebox::engine {

class ResolverLink {
 public:
  static constexpr const char* kAddress = "127.0.0.53";

  // `socket` is where the resolver takes descriptors; empty: there is none. `first_process` gives a
  // handle on a box's, on a thread of the pool.
  using FirstProcess = std::function<Result<Fd>(const std::string& id)>;
  ResolverLink(net::Loop& loop, std::string socket, FirstProcess first_process);
  void start();  // looks for the resolver, and for the next one after its end

  // From now on the box's questions are answered, `any_address`: also with private ones. Those it
  // asks before the resolver has heard of it wait.
  Task<void> serve(std::string id, bool any_address);
  void forget(const std::string& id);  // closes the sockets, there and here

 private:
  struct Served {
    bool any_address = false;
    Fd datagrams, streams;  // kept, for the next resolver
  };
  Task<void> follow();
  Task<void> open(std::string id);
  Task<void> tell(std::string line, std::vector<Fd> fds);
  Task<void> deliver(std::string id);
  Task<void> tell_gone(std::string id);

  std::string socket_;
  FirstProcess first_process_;
  bool connected_ = false;
  std::map<std::string, Served> served_;
  net::Pool pool_{1};
  net::TaskGroup work_;
};

}  // namespace glovebox::engine

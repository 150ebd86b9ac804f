// The engine's end of the link to the ingress (wire/ingress.h): what a host name's label means, who
// may, waking, and the way into a box. We connect to the ingress, which is a process without
// rights, and serve what it asks; where it ends, all it held is let go.
//
// It may ask for exposed ports and for nothing else: whoever should get hold of that process has
// the ports that strangers have.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "engine/engine.h"
#include "net/descriptor.h"
#include "net/loop.h"
#include "wire/ingress.h"

namespace glovebox::engine {

class IngressLink {
 public:
  // `socket` is where the ingress listens for us. `loop` and `engine` outlive this.
  IngressLink(net::Loop& loop, Engine& engine, std::string socket);
  ~IngressLink();
  void start();
  // Keys that no box may see, whatever a client sends them for.
  void keep_out(const std::vector<Secret>& keys);
  void changed(const std::string& id);
  Task<void> close();

 private:
  struct Packet {
    std::string bytes;
    Fd fd;
  };
  struct Line {  // one connection
    std::shared_ptr<net::Descriptor> socket;
    std::multimap<std::string, std::shared_ptr<HandLink>> holds;  // by id
    std::deque<Packet> waiting;                                   // for room in the socket
    net::Event more;
    std::size_t asked = 0;  // questions that are not answered yet
  };
  using LinePtr = std::shared_ptr<Line>;

  Task<void> follow();
  Task<Fd> connect();
  Task<void> listen(LinePtr line);
  Task<void> flush(LinePtr line);
  Task<void> answer(LinePtr line, wire::IngressAsk ask);
  Task<wire::IngressSay> hold(LinePtr line, const wire::IngressAsk& ask);
  Result<wire::IngressSay> look(const wire::IngressAsk& ask) const;
  Result<wire::IngressSay> token(const wire::IngressAsk& ask) const;
  Result<wire::SandboxRecord> exposed(const wire::IngressAsk& ask) const;
  void say(const LinePtr& line, const wire::IngressSay& what, Fd fd = {});
  void hang_up(const LinePtr& line);

  net::Loop& loop_;
  Engine& engine_;
  const std::string socket_;
  std::vector<std::string> key_hashes_;
  LinePtr line_;
  bool closing_ = false;
  net::Pool pool_{1};
  net::TaskGroup work_;
};

// What a token for a port is called among a capability's verbs.
std::string port_verb(int port);

}  // namespace glovebox::engine

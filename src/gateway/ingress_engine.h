// The ingress's end of the link to the engine (wire/ingress.h). The engine connects; while it does
// not, questions wait.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "net/descriptor.h"
#include "net/loop.h"
#include "wire/ingress.h"

namespace glovebox::gateway {

class EngineLink {
 public:
  struct Answer {
    wire::IngressSay say;
    Fd fd;  // of dial
  };
  struct Hooks {
    std::function<void(const std::string& id)> changed;
    std::function<void()> linked;  // an engine is there (again): it holds nothing for us
    std::function<void(std::vector<std::string>)> key_hashes;
  };
  static Result<std::shared_ptr<EngineLink>> open(net::Loop& loop, const std::string& path,
                                                  Hooks hooks);
  ~EngineLink();

  // Until the engine has answered, also a next one, where this one goes. What it refuses is an
  // error. Code::unavailable: there has been no engine for `absent`.
  static Task<Answer> ask(std::shared_ptr<EngineLink> self, wire::IngressAsk what, Millis absent,
                          Millis limit);
  bool release(const std::string& box);  // false: not said
  bool linked() const { return line_ != nullptr; }
  Task<void> close();

 private:
  struct Call {
    bool done = false, lost = false;
    Answer answer;
    net::Event there;
  };
  EngineLink(net::Loop& loop, std::string path, Hooks hooks,
             std::shared_ptr<net::Descriptor> listener);
  Task<void> accept_all();
  Task<void> hear(std::shared_ptr<net::Descriptor> line);
  Result<void> take(std::string_view bytes, std::vector<Fd> fds);
  bool send(const wire::IngressAsk& what);
  Task<void> flush(std::shared_ptr<net::Descriptor> line);
  void lose(const std::shared_ptr<net::Descriptor>& line);

  const std::string path_;
  Hooks hooks_;
  std::shared_ptr<net::Descriptor> listener_, line_;
  net::Event comes_;  // an engine
  std::map<std::uint64_t, std::shared_ptr<Call>> calls_;
  std::map<std::uint64_t, std::string> given_up_;  // holds nobody waits for, by number: their box
  std::deque<std::string> waiting_;                // for room in the socket
  std::uint64_t last_ = 0;
  net::Loop& loop_;
  net::TaskGroup tasks_;
};

}  // namespace glovebox::gateway

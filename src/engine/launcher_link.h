// The engine's end of the launcher: starts it where there is none, asks it for boxes, hears how
// they end.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "net/descriptor.h"
#include "net/loop.h"
#include "wire/launcher.h"

namespace glovebox::engine {

class LauncherLink {
 public:
  struct Options {
    std::string state_dir, hand_program, instance;
  };
  using OnExit = std::function<void(const wire::BoxNote&)>;
  using OnLost = std::function<void()>;

  static Task<std::unique_ptr<LauncherLink>> open(net::Loop& loop, Options options, OnExit on_exit,
                                                  OnLost on_lost);
  ~LauncherLink();

  Task<void> prepare(wire::PrepareBox plan);
  Task<std::uint32_t> launch(wire::LaunchBox plan, Fd listener);  // the hand's pid on the host
  Task<std::vector<wire::BoxNote>> list();
  Task<void> forget(std::string id);
  Task<void> retire();
  bool alive() const { return !socket_->closed(); }

 private:
  struct Call {
    net::Event answered;
    bool done = false;
    Result<void> result = ok;
    std::uint32_t pid = 0;
    std::vector<wire::BoxNote> notes;
  };
  LauncherLink(net::Loop& loop, std::shared_ptr<net::Descriptor> socket, OnExit on_exit,
               OnLost on_lost);
  Task<std::shared_ptr<Call>> call(wire::LauncherType type, std::string payload, Fd fd,
                                   Millis limit);
  Task<void> hear();
  Result<void> take(std::string_view packet);
  void lose(const Error& why);

  std::shared_ptr<net::Descriptor> socket_;
  OnExit on_exit_;
  OnLost on_lost_;
  std::uint32_t next_ = 1;
  std::map<std::uint32_t, std::shared_ptr<Call>> calls_;
  net::TaskGroup tasks_;
};

}  // namespace glovebox::engine

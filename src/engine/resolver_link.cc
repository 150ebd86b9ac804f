#include "engine/resolver_link.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "engine/handover.h"
#include "net/task.h"
#include "sys/inside.h"

namespace glovebox::engine {

namespace {

constexpr int kDnsPort = 53;
constexpr Millis kLookAgain{500}, kLookAgainMost{5'000};

Fd copy(const Fd& fd) { return Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)); }

}  // namespace

ResolverLink::ResolverLink(net::Loop& loop, std::string socket, FirstProcess first_process)
    : socket_(std::move(socket)), first_process_(std::move(first_process)), work_(loop) {}

void ResolverLink::start() {
  if (!socket_.empty()) work_.spawn("resolver", follow());
}

// What is said to it is said in order: one thread.
Task<void> ResolverLink::tell(std::string line, std::vector<Fd> fds) {
  auto kept = std::make_shared<std::vector<Fd>>(std::move(fds));
  std::function<Result<void>()> work = [this, line, kept] {
    std::vector<int> numbers;
    for (const Fd& fd : *kept) numbers.push_back(fd.get());
    return hand_over(socket_, line, numbers);
  };
  co_return co_await pool_.run(std::move(work));
}

Task<void> ResolverLink::follow() {
  for (Millis pause = kLookAgain;;) {
    // It holds the far end as long as it lives: the near one says when it has gone.
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) co_return sys_error("pipe");
    Fd near(ends[0]), far(ends[1]);
    std::vector<Fd> fds;
    fds.push_back(std::move(far));
    auto told = co_await tell("anew", std::move(fds));
    if (!told) {
      if (told.error().code == Code::cancelled) co_return ok;
      CO_TRY_DO(co_await net::sleep(pause));
      pause = std::min(pause * 2, kLookAgainMost);
      continue;
    }
    pause = kLookAgain;
    connected_ = true;
    std::vector<std::string> ids;
    for (const auto& [id, served] : served_) ids.push_back(id);
    for (const auto& id : ids) {
      CO_TRY_DO(co_await open(id));
      CO_TRY_DO(co_await deliver(id));
    }
    for (;;) {
      auto ended = co_await net::readable(near.get(), 3600s);
      if (ended) break;
      if (ended.error().code != Code::timeout) co_return ok;
    }
    connected_ = false;
    log::warn("resolver.lost");
  }
}

// The sockets, unless they are there.
Task<void> ResolverLink::open(std::string id) {
  auto found = served_.find(id);
  if (found == served_.end() || found->second.datagrams) co_return ok;
  auto made = std::make_shared<Served>();
  std::function<Result<void>()> listen = [this, id, made]() -> Result<void> {
    TRY(process, first_process_(id));
    TRY(datagrams, sys::listen_inside(process.get(),
                                      {.host = kAddress, .port = kDnsPort, .type = SOCK_DGRAM}));
    TRY(streams, sys::listen_inside(process.get(),
                                    {.host = kAddress, .port = kDnsPort, .type = SOCK_STREAM}));
    made->datagrams = std::move(datagrams.fd);
    made->streams = std::move(streams.fd);
    return ok;
  };
  auto listening = co_await pool_.run(std::move(listen));
  if (!listening && listening.error().code == Code::cancelled)
    co_return std::move(listening.error());  // we may be gone
  found = served_.find(id);                  // it may have ended meanwhile
  if (!listening) log::warn("resolver.box", {{"sandbox", id}, {"error", listening.error().what}});
  if (!listening || found == served_.end() || found->second.datagrams) co_return ok;
  found->second.datagrams = std::move(made->datagrams);
  found->second.streams = std::move(made->streams);
  co_return ok;
}

Task<void> ResolverLink::deliver(std::string id) {
  auto found = served_.find(id);
  if (found == served_.end() || !found->second.datagrams) co_return ok;
  const Served& served = found->second;
  std::vector<Fd> fds;
  fds.push_back(copy(served.datagrams));
  fds.push_back(copy(served.streams));
  auto told =
      co_await tell(str("box ", id, served.any_address ? " any" : " public"), std::move(fds));
  if (!told && told.error().code != Code::unavailable && told.error().code != Code::cancelled)
    log::warn("resolver.box", {{"sandbox", id}, {"error", told.error().what}});
  co_return ok;
}

Task<void> ResolverLink::serve(std::string id, bool any_address) {
  Served& served = served_[id];
  served.any_address = any_address;
  if (!connected_) co_return ok;  // whoever comes is told of all
  CO_TRY_DO(co_await open(id));
  work_.spawn("resolver", deliver(id));
  co_return ok;
}

void ResolverLink::forget(const std::string& id) {
  if (served_.erase(id) > 0 && connected_) work_.spawn("resolver", tell_gone(id));
}

Task<void> ResolverLink::tell_gone(std::string id) {
  auto told = co_await tell("gone " + id, {});
  if (!told && told.error().code != Code::unavailable && told.error().code != Code::cancelled)
    log::warn("resolver.gone", {{"sandbox", id}, {"error", told.error().what}});
  co_return ok;
}

}  // namespace glovebox::engine

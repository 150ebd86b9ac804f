#include "net/descriptor.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <csignal>

#include "net/deadline.h"
#include "net/waiter.h"

namespace asio = boost::asio;

namespace glovebox::net {

struct Descriptor::Impl {
  Fd fd;
  Watched watched;
  Impl(Reactor& in, Fd of) : fd(std::move(of)), watched(in, fd.get()) {}
};

Result<std::shared_ptr<Descriptor>> Descriptor::open(asio::any_io_executor executor, Fd fd) {
  auto impl = std::make_unique<Impl>(Reactor::of(executor), std::move(fd));
  int on = 1;  // nobody may wait in the kernel
  if (::ioctl(impl->fd.get(), FIONBIO, &on) < 0) return sys_error("watch a descriptor");
  TRY_DO(impl->watched.begin());
  return std::shared_ptr<Descriptor>(new Descriptor(std::move(impl)));
}

Descriptor::Descriptor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Descriptor::~Descriptor() { close(); }

int Descriptor::get() const { return impl_->fd.get(); }
void Descriptor::close() { (void)release(); }

Fd Descriptor::release() {
  if (closed()) return Fd();
  Fd fd = std::move(impl_->fd);
  impl_->watched.end();
  return fd;
}

// What is there is told again: who waits here need not have taken all of it before.
void Descriptor::arm(std::shared_ptr<Descriptor> descriptor, For what) {
  if (!descriptor->closed()) descriptor->impl_->watched.ask_anew(what);
}

Task<void> Descriptor::wait(std::shared_ptr<Descriptor> descriptor, For what, Millis limit) {
  arm(descriptor, what);
  Watched* watched = &descriptor->impl_->watched;
  return Watched::sleep(std::move(descriptor), watched, what, limit);
}

Task<void> readable(int fd, Millis limit) {
  pollfd now{fd, POLLIN, 0};
  if (::poll(&now, 1, 0) > 0) co_return ok;
  // Watched through an epoll of its own: the loop would make `fd` itself non-blocking, for
  // everybody who shares it, and could not take it twice.
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event interest{EPOLLIN, {}};
  if (!epoll || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &interest) < 0)
    co_return sys_error("watch a descriptor");
  CO_TRY(watched, Descriptor::open(co_await asio::this_coro::executor, std::move(epoll)));
  Deadline deadline(limit);
  for (;;) {
    CO_TRY_DO(co_await Descriptor::wait(watched, Descriptor::For::reading, deadline.left()));
    epoll_event event;
    if (::epoll_wait(watched->get(), &event, 1, 0) > 0) co_return ok;
  }
}

Task<int> next_signal(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : signals) sigaddset(&set, signal);
  Fd fd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) co_return sys_error("signalfd");
  for (;;) {
    CO_TRY_DO(co_await readable(fd.get(), kForever));
    signalfd_siginfo info{};
    if (::read(fd.get(), &info, sizeof info) == sizeof info)
      co_return static_cast<int>(info.ssi_signo);
  }
}

}  // namespace glovebox::net

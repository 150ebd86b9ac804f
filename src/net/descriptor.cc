#include "net/descriptor.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <csignal>

#include "net/deadline.h"
#include "net/task.h"

namespace asio = boost::asio;

namespace glovebox::net {

struct Descriptor::Impl {
  struct Side {
    Event ready;
    bool armed = false;
  };
  asio::posix::stream_descriptor fd;
  Side reading, writing;
  explicit Impl(asio::any_io_executor executor) : fd(std::move(executor)) {}
};

Result<std::shared_ptr<Descriptor>> Descriptor::open(asio::any_io_executor executor, Fd fd) {
  auto impl = std::make_unique<Impl>(std::move(executor));
  boost::system::error_code error;
  impl->fd.assign(fd.get(), error);
  if (error) return sys_error("watch a descriptor", error.value());
  (void)fd.release();
  return std::shared_ptr<Descriptor>(new Descriptor(std::move(impl)));
}

Descriptor::Descriptor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Descriptor::~Descriptor() { close(); }

int Descriptor::get() const { return impl_->fd.is_open() ? impl_->fd.native_handle() : -1; }

void Descriptor::close() {
  if (closed()) return;
  boost::system::error_code ignored;
  impl_->fd.close(ignored);
  impl_->reading.ready.notify();
  impl_->writing.ready.notify();
}

Fd Descriptor::release() {
  if (closed()) return Fd();
  Fd fd(impl_->fd.release());
  impl_->reading.ready.notify();
  impl_->writing.ready.notify();
  return fd;
}

// The readiness callback stays armed when a wait ends early (limit, cancellation) and serves the
// next wait.
void Descriptor::arm(std::shared_ptr<Descriptor> descriptor, For what) {
  Impl& impl = *descriptor->impl_;
  auto& side = what == For::reading ? impl.reading : impl.writing;
  if (side.armed) return;
  side.armed = true;
  auto type = what == For::reading ? asio::posix::descriptor_base::wait_read
                                   : asio::posix::descriptor_base::wait_write;
  impl.fd.async_wait(type, [&side, descriptor = std::move(descriptor)](boost::system::error_code) {
    side.armed = false;
    side.ready.notify();
  });
}

Task<void> Descriptor::wait(std::shared_ptr<Descriptor> descriptor, For what, Millis limit) {
  if (descriptor->closed()) co_return Error{Code::cancelled, "closed"};
  arm(descriptor, what);
  Impl& impl = *descriptor->impl_;
  auto waited = co_await (what == For::reading ? impl.reading : impl.writing).ready.wait(limit);
  if (descriptor->closed()) co_return Error{Code::cancelled, "closed"};
  co_return waited;
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

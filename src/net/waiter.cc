#include "net/waiter.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <system_error>

namespace asio = boost::asio;

namespace glovebox::net {

namespace {

constexpr int kEvents = 64;
// Without going around Asio's loop, where what was posted waits.
constexpr int kRounds = 4;

}  // namespace

asio::execution_context::id Reactor::id;

// --- Waiter

Waiter::~Waiter() {
  if (limit) reactor.limits_.erase(*limit);
}

Result<void> Waiter::woken() const {
  if (why == Why::notified) return ok;
  if (why == Why::timeout) return Error{Code::timeout, "timed out"};
  return Error{Code::cancelled, "cancelled"};
}

void wake_all(Ring& ring, Waiter::Why why) {
  while (!ring.empty()) {
    Waiter& waiter = *ring.front().waiter;
    waiter.place.unlink();
    waiter.reactor.wake(waiter, why);
  }
}

asio::awaitable<void> Waiter::sleep(Millis limit, bool cancellable) {
  return asio::async_initiate<const asio::use_awaitable_t<>, void()>(
      [this, limit, cancellable](Handler resumed) {
        auto slot = asio::get_associated_cancellation_slot(resumed);
        if (cancellable && slot.is_connected())
          slot.assign([this](asio::cancellation_type) { reactor.wake(*this, Why::cancelled); });
        handler.emplace(std::move(resumed));
        reactor.asleep(*this, limit);
      },
      asio::use_awaitable);
}

// --- Reactor

Reactor::Reactor(asio::execution_context& context)
    : service(context),
      io_(static_cast<asio::io_context&>(context)),
      alarm_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      watched_(io_) {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{EPOLLIN | EPOLLET, {}};
  if (!epoll || !alarm_ || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, alarm_.get(), &event) < 0)
    throw std::system_error(errno, std::generic_category(), "the loop's epoll");
  watched_.assign(epoll.get());
  (void)epoll.release();
}

Reactor& Reactor::of(const asio::any_io_executor& executor) {
  return asio::use_service<Reactor>(asio::query(executor, asio::execution::context));
}

// The coroutines that still sleep are destroyed with the loop, as Asio does it with those that wait
// for something of its own.
void Reactor::shutdown() {
  over_ = true;
  while (!all_.empty()) {
    Waiter& waiter = *all_.front().waiter;
    waiter.among_all.unlink();
    waiter.place.unlink();
    asio::get_associated_cancellation_slot(*waiter.handler).clear();
    auto dropped = std::move(*waiter.handler);
    waiter.handler.reset();
  }
  boost::system::error_code ignored;
  watched_.close(ignored);
}

void Reactor::asleep(Waiter& waiter, Millis limit) {
  constexpr Millis kYear = std::chrono::years(1);  // more could overflow
  ++sleeping_;
  all_.push_back(waiter.among_all);
  if (limit <= Millis(0)) return wake(waiter, Waiter::Why::timeout);
  if (limit < kYear) {
    waiter.limit = limits_.emplace(Waiter::Steady::now() + limit, &waiter);
    if (*waiter.limit == limits_.begin()) set_alarm();
  }
  if (!looking_) arm();
}

void Reactor::wake(Waiter& waiter, Waiter::Why why) {
  if (!waiter.handler || waiter.why != Waiter::Why::nothing) return;
  waiter.why = why;
  ready_.push_back(waiter.place);
  if (!looking_) schedule();
}

void Reactor::resume(Waiter& waiter) {
  waiter.place.unlink();
  waiter.among_all.unlink();
  // What is armed for nobody would keep the loop from ending.
  boost::system::error_code ignored;
  if (--sleeping_ == 0 && armed_) watched_.cancel(ignored);
  auto resumed = std::move(*waiter.handler);
  waiter.handler.reset();
  resumed();  // and the waiter is gone
}

// However a round ends, also by an exception out of a handler of somebody's: the loop goes on.
struct Reactor::Settled {
  Reactor& reactor;
  ~Settled() {
    reactor.looking_ = false;
    if (!reactor.ready_.empty()) reactor.schedule();
    if (reactor.sleeping_ > 0) reactor.arm();
  }
};

// Those who are ready now: who becomes ready meanwhile has its turn after everybody else.
void Reactor::resume_ready() {
  Link end{nullptr};
  ready_.push_back(end);
  while (&ready_.front() != &end && !io_.stopped()) resume(*ready_.front().waiter);
}

void Reactor::schedule() {
  if (std::exchange(scheduled_, true) || over_) return;
  asio::post(io_, [this] {
    scheduled_ = false;
    const Settled settled(*this);
    resume_ready();
  });
}

void Reactor::arm() {
  if (std::exchange(armed_, true) || over_) return;
  watched_.async_wait(asio::posix::descriptor_base::wait_read,
                      [this](boost::system::error_code error) {
                        armed_ = false;
                        if (over_) return;
                        const Settled settled(*this);
                        if (!error) look();
                      });
}

void Reactor::look() {
  epoll_event events[kEvents];
  looking_ = true;
  for (int round = 0; round < kRounds && !io_.stopped(); ++round) {
    const int count = ::epoll_wait(watched_.native_handle(), events, kEvents, 0);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.ptr)
        static_cast<Watched*>(events[i].data.ptr)->came(events[i].events);
      else
        expire();
    }
    if (count <= 0 && ready_.empty()) break;
    resume_ready();
  }
}

void Reactor::expire() {
  alarm_at_ = Waiter::Steady::time_point::max();
  const auto now = Waiter::Steady::now();
  while (!limits_.empty() && limits_.begin()->first <= now) {
    Waiter& waiter = *limits_.begin()->second;
    limits_.erase(limits_.begin());
    waiter.limit.reset();
    wake(waiter, Waiter::Why::timeout);
  }
  if (!limits_.empty()) set_alarm();
}

// Not for each limit that goes away: an alarm for nothing now and then costs less.
void Reactor::set_alarm() {
  const auto first = limits_.begin()->first;
  if (first >= alarm_at_) return;
  alarm_at_ = first;
  const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(first.time_since_epoch());
  itimerspec at{};
  at.it_value.tv_sec = since.count() / 1'000'000'000;
  at.it_value.tv_nsec = since.count() % 1'000'000'000;
  ::timerfd_settime(alarm_.get(), TFD_TIMER_ABSTIME, &at, nullptr);
}

// --- Watched

namespace {

// A descriptor's number is the process's, its loop the thread's.
std::vector<Watched*>& table() {
  thread_local std::vector<Watched*> all;
  return all;
}

}  // namespace

Watched* Watched::at(int fd) {
  const auto& all = table();
  return fd >= 0 && static_cast<std::size_t>(fd) < all.size() ? all[fd] : nullptr;
}

Result<void> Watched::begin() {
  events = EPOLLIN | EPOLLRDHUP | EPOLLPRI;
  epoll_event event{events | EPOLLET, {}};
  event.data.ptr = this;
  if (::epoll_ctl(reactor.watched_.native_handle(), EPOLL_CTL_ADD, fd, &event) < 0) {
    if (errno != EPERM) return sys_error("watch a descriptor");
    eventless = true;
  }
  auto& all = table();
  if (all.size() <= static_cast<std::size_t>(fd)) all.resize(static_cast<std::size_t>(fd) + 64);
  all[fd] = this;
  return ok;
}

// Said also where the descriptor is closed next: it may live on in another process, and epoll would
// go on telling of it.
void Watched::end() {
  if (at(fd) == this) table()[fd] = nullptr;
  if (!reactor.over_) ::epoll_ctl(reactor.watched_.native_handle(), EPOLL_CTL_DEL, fd, nullptr);
  wake();
}

// Epoll looks again when it is told again what it is to watch.
void Watched::ask_anew(Descriptor::For what) {
  if (eventless) return;
  if (what != kRead) events |= EPOLLOUT;
  epoll_event event{events | EPOLLET, {}};
  event.data.ptr = this;
  ::epoll_ctl(reactor.watched_.native_handle(), EPOLL_CTL_MOD, fd, &event);
}

void Watched::wake() {
  wake_all(reading.waiters, Waiter::Why::notified);
  wake_all(writing.waiters, Waiter::Why::notified);
}

void Watched::tell(Side& side) {
  side.may_have = true;
  wake_all(side.waiters, Waiter::Why::notified);
}

void Watched::came(std::uint32_t what) {
  const bool broken = what & (EPOLLERR | EPOLLHUP);
  unsure |= broken || (what & (EPOLLRDHUP | EPOLLPRI));
  if (broken || (what & (EPOLLIN | EPOLLRDHUP))) tell(reading);
  if (broken || (what & EPOLLOUT)) tell(writing);
}

Task<void> Watched::sleep(std::shared_ptr<Descriptor> descriptor, Watched* self,
                          Descriptor::For what, Millis limit) {
  auto state = co_await asio::this_coro::cancellation_state;
  if (descriptor->closed()) co_return Error{Code::cancelled, "closed"};
  if (self->eventless || state.cancelled() != asio::cancellation_type::none) {
    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
    if (self->eventless) co_return ok;
    co_return Error{Code::cancelled, "cancelled"};
  }
  if (what != kRead && !(self->events & EPOLLOUT)) self->ask_anew(what);
  Waiter waiter(self->reactor);
  self->side(what).waiters.push_back(waiter.place);
  co_await waiter.sleep(limit);
  if (descriptor->closed()) co_return Error{Code::cancelled, "closed"};
  co_return waiter.woken();
}

}  // namespace glovebox::net

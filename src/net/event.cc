#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <vector>

#include "net/loop.h"
#include "net/task.h"

namespace asio = boost::asio;

namespace glovebox::net {
namespace {

// A waiter sleeps on its own timer: the limit is the timer's expiry, a notify() or a cancelled task
// cuts it short. That makes this the one place where a coroutine of ours is suspended for an
// unknown time.
struct Waiter {
  asio::steady_timer timer;
  bool notified = false;
  std::vector<Waiter*>* queue;

  Waiter(asio::any_io_executor executor, Millis limit, std::vector<Waiter*>& queue)
      : timer(std::move(executor)), queue(&queue) {
    constexpr Millis kYear = std::chrono::years(1);
    if (limit < kYear)
      timer.expires_after(limit);
    else
      timer.expires_at(std::chrono::steady_clock::time_point::max());
    queue.push_back(this);
  }
  Waiter(const Waiter&) = delete;
  ~Waiter() {
    if (queue) std::erase(*queue, this);
  }
};

Error cancelled() { return Error{Code::cancelled, "cancelled"}; }

}  // namespace

struct Event::Impl {
  std::vector<Waiter*> queue;
  ~Impl() { wake(false); }
  void wake(bool notified) {
    for (Waiter* waiter : std::exchange(queue, {})) {
      waiter->notified = notified;
      waiter->queue = nullptr;
      waiter->timer.cancel();  // resumes it later, from the loop
    }
  }
};

Event::Event() : impl_(std::make_unique<Impl>()) {}
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;

void Event::notify() { impl_->wake(true); }

Task<void> Event::wait(Millis limit) {
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none) {
    // Others must get their turn all the same: who waits for them in a loop would spin for ever.
    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
    co_return cancelled();
  }
  Waiter waiter(co_await asio::this_coro::executor, limit, impl_->queue);
  boost::system::error_code error;
  co_await waiter.timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  // From here the Event may be gone.
  if (waiter.notified) co_return ok;
  if (error) co_return cancelled();
  co_return Error{Code::timeout, "timed out"};
}

Task<void> sleep(Millis time) {
  Event never;
  auto ended = co_await never.wait(time);
  if (ended.error().code == Code::timeout) co_return ok;
  co_return ended;
}

}  // namespace glovebox::net

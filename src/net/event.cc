#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "net/loop.h"
#include "net/waiter.h"

namespace asio = boost::asio;

namespace glovebox::net {

struct Event::Impl {
  Ring waiters;
  ~Impl() { wake_all(waiters, Waiter::Why::cancelled); }
};

Event::Event() : impl_(std::make_unique<Impl>()) {}
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;

void Event::notify() { wake_all(impl_->waiters, Waiter::Why::notified); }

Task<void> Event::wait(Millis limit) {
  auto state = co_await asio::this_coro::cancellation_state;
  auto executor = co_await asio::this_coro::executor;
  if (state.cancelled() != asio::cancellation_type::none) {
    // Others must get their turn all the same: who waits for them in a loop would spin for ever.
    co_await asio::post(executor, asio::use_awaitable);
    co_return Error{Code::cancelled, "cancelled"};
  }
  Waiter waiter(Reactor::of(executor));
  impl_->waiters.push_back(waiter.place);
  co_await waiter.sleep(limit);  // after it the Event may be gone
  co_return waiter.woken();
}

Task<void> sleep(Millis time) {
  Event never;
  auto ended = co_await never.wait(time);
  if (ended.error().code == Code::timeout) co_return ok;
  co_return ended;
}

}  // namespace glovebox::net

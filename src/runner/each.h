// Many tasks of one kind, a few at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>

#include "net/loop.h"
#include "net/task.h"

namespace glovebox::runner {

namespace each_detail {
struct State {
  std::function<Task<void>(std::size_t)> work;
  std::size_t count = 0, next = 0, running = 0;
  bool cancelled = false;
  net::Event changed;
};
inline Task<void> worker(std::shared_ptr<State> state) {
  while (state->next < state->count && !state->cancelled) {
    auto done = co_await state->work(state->next++);
    if (!done && done.error().code == Code::cancelled) state->cancelled = true;
  }
  --state->running;
  state->changed.notify();
  co_return ok;
}
}  // namespace each_detail

// work(0) … work(count - 1), `width` of them at once. What goes wrong with one is its own matter:
// the only error is Code::cancelled, and all have ended when this returns.
inline Task<void> each(net::Loop& loop, std::size_t width, std::size_t count,
                       std::function<Task<void>(std::size_t)> work) {
  auto state = std::make_shared<each_detail::State>();
  state->work = std::move(work);
  state->count = count;
  state->running = std::min(width, count);
  net::TaskGroup workers(loop);
  for (std::size_t i = 0; i < state->running; ++i)
    workers.spawn("runner.each", each_detail::worker(state));
  while (state->running > 0) {
    auto waited = co_await state->changed.wait(net::kForever);
    if (waited) continue;
    // They refer to what the caller owns. (Not kForever, which overflows a timer.)
    CO_TRY_DO(co_await workers.finish(std::chrono::years(1)));
    co_return waited;
  }
  if (state->cancelled) co_return Error{Code::cancelled, "cancelled"};
  co_return ok;
}

}  // namespace glovebox::runner

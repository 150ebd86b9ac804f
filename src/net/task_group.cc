#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>
#include <optional>

#include "base/log.h"
#include "net/loop.h"
#include "net/waiter.h"

namespace asio = boost::asio;

namespace glovebox::net {
namespace {

Task<void> caught(Task<void> task) {
  try {
    co_return co_await std::move(task);
  } catch (const std::exception& e) {
    co_return Error{Code::internal, str("exception: ", e.what())};
  }
}

// The first frame of every task of ours. Asio would throw out of the first co_await after a
// cancellation; with that switched off each wait gives an error instead, and Event::wait makes it
// Code::cancelled.
asio::awaitable<void> supervise(std::string name, Task<void> task) {
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await asio::post(asio::use_awaitable);
  auto ended = co_await caught(std::move(task));
  if (!ended && ended.error().code != Code::cancelled)
    log::warn("task.failed", {{"task", name}, {"error", ended.error().what}});
}

}  // namespace

struct TaskGroup::State {
  asio::any_io_executor executor;
  std::list<asio::cancellation_signal> running;
  Ring finishing;
};

TaskGroup::TaskGroup(Loop& loop) : TaskGroup(loop.executor()) {}

TaskGroup::TaskGroup(asio::any_io_executor executor) : state_(std::make_shared<State>()) {
  state_->executor = std::move(executor);
}

TaskGroup::~TaskGroup() { cancel(); }

void TaskGroup::spawn(std::string name, Task<void> task) {
  auto signal = state_->running.emplace(state_->running.end());
  auto ended = [state = state_, signal](std::exception_ptr) {
    state->running.erase(signal);
    if (!state->running.empty()) return;
    wake_all(state->finishing, Waiter::Why::notified);
  };
  asio::co_spawn(state_->executor, supervise(std::move(name), std::move(task)),
                 asio::bind_cancellation_slot(signal->slot(), std::move(ended)));
}

std::size_t TaskGroup::size() const { return state_->running.size(); }

void TaskGroup::cancel() {
  for (auto& signal : state_->running) signal.emit(asio::cancellation_type::terminal);
}

Task<void> TaskGroup::finish(Millis limit) {
  cancel();
  auto state = state_;
  if (state->running.empty()) co_return ok;
  Waiter waiter(Reactor::of(state->executor));
  state->finishing.push_back(waiter.place);
  // Not cancellable: the end of the children is waited for even when the parent itself is
  // cancelled, because they may refer to what the parent owns.
  co_await waiter.sleep(limit, false);
  if (!state->running.empty())
    co_return Error{Code::timeout, str(state->running.size(), " tasks did not end in time")};
  co_return ok;
}

namespace {

struct Race {
  std::optional<Result<void>> first;
  Event ended;
};

Task<void> runner(Task<void> task, std::shared_ptr<Race> race) {
  auto result = co_await caught(std::move(task));
  if (!race->first) race->first = std::move(result);
  race->ended.notify();
  co_return ok;
}

struct MainTask {
  Result<void> result = Error{Code::cancelled, "the loop was stopped"};
  bool ended = false;
};

Task<void> main_task(Task<void> task, std::shared_ptr<MainTask> main, Loop& loop) {
  main->result = co_await caught(std::move(task));
  main->ended = true;
  loop.stop();
  co_return ok;
}

}  // namespace

Task<void> first_of(Task<void> one, Task<void> other) {
  auto race = std::make_shared<Race>();
  TaskGroup both(co_await asio::this_coro::executor);
  both.spawn("first_of", runner(std::move(one), race));
  both.spawn("first_of", runner(std::move(other), race));
  auto waited = co_await race->ended.wait(kForever);
  CO_TRY_DO(co_await both.finish(std::chrono::hours(1)));
  if (!waited) co_return waited;
  co_return *race->first;
}

Result<void> run(Loop& loop, Task<void> task) {
  auto main = std::make_shared<MainTask>();
  TaskGroup group(loop);
  group.spawn("main", main_task(std::move(task), main, loop));
  loop.run();
  return main->result;
}

}  // namespace glovebox::net

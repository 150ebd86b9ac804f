#pragma once

#include "engine/core.h"
#include "net/task.h"

namespace glovebox::engine {

namespace detail {
template <class T>
struct Outcome {
  std::optional<Result<T>> result;
  net::Event there;
};

template <class T>
Task<void> run_to_end(std::shared_ptr<Outcome<T>> outcome, Task<T> task) {
  auto result = co_await std::move(task);
  outcome->result = std::move(result);
  outcome->there.notify();
  co_return ok;
}
}  // namespace detail

template <class T>
Task<T> Core::finish(std::string name, Task<T> task) {
  auto outcome = std::make_shared<detail::Outcome<T>>();
  work.spawn(std::move(name), detail::run_to_end<T>(outcome, std::move(task)));
  while (!outcome->result) {
    auto waited = co_await outcome->there.wait(300s);
    if (outcome->result) break;
    if (!waited) co_return waited.error();
  }
  co_return std::move(*outcome->result);
}

}  // namespace glovebox::engine

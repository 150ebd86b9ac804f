// Runs a coroutine to its end from ordinary code. For .cc files.
#pragma once

#include <optional>
#include <utility>

#include "net/loop.h"
#include "net/task.h"

namespace glovebox::cli {

template <class T>
Task<void> keep_result(Task<T> task, std::optional<Result<T>>* result) {
  result->emplace(co_await std::move(task));
  co_return ok;
}

template <class T>
Result<T> wait(net::Loop& loop, Task<T> task) {
  std::optional<Result<T>> result;
  TRY_DO(net::run(loop, keep_result(std::move(task), &result)));
  return std::move(*result);
}

}  // namespace glovebox::cli

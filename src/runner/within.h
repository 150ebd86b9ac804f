// A limit over a whole task, whatever it waits for inside.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "net/loop.h"
#include "net/task.h"

namespace glovebox::runner {

template <class T>
Task<void> keep(Task<T> task, std::shared_ptr<std::optional<Result<T>>> result) {
  result->emplace(co_await std::move(task));
  co_return ok;
}

// Code::timeout after `limit`; the task is cancelled then, and has ended when this returns.
template <class T>
Task<T> within(Task<T> task, Millis limit) {
  auto result = std::make_shared<std::optional<Result<T>>>();
  auto raced = co_await net::first_of(keep(std::move(task), result), net::sleep(limit));
  if (!raced) co_return std::move(raced.error());
  // Both may end in the same moment: what is there counts.
  if (*result && (result->value() || result->value().error().code != Code::cancelled))
    co_return std::move(**result);
  co_return Error{Code::timeout, str("no answer within ", limit.count(), " ms")};
}

}  // namespace glovebox::runner

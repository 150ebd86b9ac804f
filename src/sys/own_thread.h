// Work that changes the thread it runs on (namespaces, ids) on a thread that ends with it: one that
// went in never comes back to do other work.
#pragma once

#include <functional>
#include <optional>
#include <thread>

#include "base/error.h"

namespace glovebox::sys {

template <class T>
Result<T> on_own_thread(std::function<Result<T>()> work) {
  std::optional<Result<T>> result;
  std::thread([&] { result = work(); }).join();
  return std::move(*result);
}

}  // namespace glovebox::sys

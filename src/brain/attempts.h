// How often, and after which waits, a request to a model is repeated.
#pragma once

#include <optional>

#include "brain/model.h"

namespace glovebox::brain {

// What the other side said about trying again.
struct RetryAdvice {
  std::optional<Millis> after;  // retry-after
  std::optional<bool> retry;    // x-should-retry, which is final
};

class Attempts {
 public:
  explicit Attempts(const ModelOptions& options) : options_(options) {}
  // The wait before the next attempt, or nothing when there is none.
  std::optional<Millis> next(const Error& failed, const RetryAdvice& advice = {});

 private:
  const ModelOptions& options_;
  int made_ = 1;
};

// Tells the listener, waits, tells it again.
Task<void> wait_for_next_attempt(ModelListener listener, Error failed, Millis wait);

}  // namespace glovebox::brain

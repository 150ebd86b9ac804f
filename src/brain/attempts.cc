#include "brain/attempts.h"

#include <algorithm>

#include "base/random.h"
#include "brain/messages_stream.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

// A server that says "in an hour" is not waited for: the user can do that better.
constexpr int kLongestAdvice = 10;  // times the longest wait of our own

double random_share() {  // 0 … 1
  unsigned sum = 0;
  for (char c : random_bytes(2)) sum = sum * 256 + static_cast<unsigned char>(c);
  return sum / 65535.0;
}

}  // namespace

std::optional<Millis> Attempts::next(const Error& failed, const RetryAdvice& advice) {
  if (!advice.retry.value_or(may_pass(failed)) || made_ >= options_.attempts) return std::nullopt;
  Millis wait = options_.longest_backoff;
  if (made_ <= 20) wait = std::min(wait, options_.first_backoff * (1 << (made_ - 1)));
  // Many sessions fail together; they should not come back together.
  wait -= Millis(static_cast<std::int64_t>(static_cast<double>(wait.count()) / 4 * random_share()));
  ++made_;
  if (!advice.after || *advice.after <= 0ms) return wait;
  return std::min(*advice.after, options_.longest_backoff * kLongestAdvice);
}

Task<void> wait_for_next_attempt(ModelListener listener, Error failed, Millis wait) {
  if (listener.retrying) listener.retrying(failed, failed.tag, wait);
  CO_TRY_DO(co_await net::sleep(wait));
  if (listener.resumed) listener.resumed();
  co_return ok;
}

}  // namespace glovebox::brain

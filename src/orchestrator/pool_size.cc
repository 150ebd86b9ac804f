// Boxes made ahead for sessions to come: a pool of the engine's, as large as the queue has need of.
#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <deque>

#include "base/log.h"
#include "base/metrics.h"
#include "net/task.h"
#include "orchestrator/impl.h"
#include "runner/json.h"

namespace glovebox::orchestrator {

namespace {

using Steady = std::chrono::steady_clock;

metrics::Gauge wanted_now("orchestrator_pool_size", "Boxes that are to be kept ready.");

constexpr Millis kMemory{
    60'000};  // need is remembered so long: a pool that shrinks at once is none

// Of items that wait; nothing where that may not be seen.
Task<std::int64_t> queue_depth(Impl impl) {
  const std::string target =
      str("/v1/environments/", http::encode_path(impl->environment), "/work/stats");
  auto key = impl->stats_key->empty() ? impl->environment_key : impl->stats_key;
  auto body = co_await impl->service->get(target, key);
  if (!body && body.error().code == Code::cancelled) co_return std::move(body.error());
  if (!body) co_return std::int64_t(0);
  auto value = runner::parse_json(*body);
  const boost::json::value* depth = value ? runner::member(*value, "depth") : nullptr;
  co_return depth && depth->is_int64() ? depth->get_int64() : std::int64_t(0);
}

// The most that was needed within the last minute: items that wait, and boxes taken between two
// looks.
class Need {
 public:
  std::int64_t after(std::int64_t now) {
    const auto time = Steady::now();
    while (!seen_.empty() && time - seen_.front().first > kMemory) seen_.pop_front();
    while (!seen_.empty() && seen_.back().second <= now) seen_.pop_back();
    seen_.emplace_back(time, now);
    return seen_.front().second;  // falling from front to back
  }

 private:
  std::deque<std::pair<Steady::time_point, std::int64_t>> seen_;
};

// One that is not wanted any more. While boxes of it live it only stops making others.
Task<void> put_away(Impl impl, std::string environment) {
  CO_TRY(pool, impl->journal.pool(environment));
  if (pool.empty()) co_return ok;
  EngineApi& api = impl->boxes->api();
  auto removed = co_await api.remove_pool(pool);
  if (!removed && removed.error().code == Code::conflict) {
    CO_TRY_DO(co_await api.set_pool(
        pool, {impl->options.pool.image, impl->options.sandbox_timeout_secs, 0}));
    co_return ok;
  }
  if (!removed) co_return removed;
  co_return impl->journal.set_pool(environment, "");
}

// Of environments that were served from here before; where one still is, it is that one's own.
Task<void> put_away_unserved(Impl impl) {
  CO_TRY(environments, impl->journal.environments_with_pool());
  for (const std::string& one : environments) {
    if (one == impl->environment) continue;
    auto lock = lock_of(*impl, one);
    if (!lock && lock.error().code == Code::conflict) continue;
    Result<void> gone = ok;
    if (lock)
      gone = co_await put_away(impl, one);
    else
      gone = std::move(lock.error());
    if (!gone && gone.error().code == Code::cancelled) co_return gone;
    if (!gone) log::warn("pool.remove", {{"environment", one}, {"error", gone.error().what}});
  }
  co_return ok;
}

Task<void> resize(Impl impl, std::int64_t size) {
  CO_TRY(known, impl->journal.pool(impl->environment));
  EngineApi::Pool wanted{impl->options.pool.image, impl->options.sandbox_timeout_secs, size};
  CO_TRY(pool, co_await impl->boxes->api().set_pool(known, wanted));
  // A new one has nothing in it until it is noted: killed in between we leave nothing that costs.
  if (pool != known) {
    CO_TRY_DO(impl->journal.set_pool(impl->environment, pool));
    CO_TRY(filled, co_await impl->boxes->api().set_pool(pool, wanted));
    if (filled != pool) co_return Error{Code::conflict, "the pool went while it was made"};
  }
  impl->boxes->use_pool(pool);
  wanted_now.set(size);
  log::info("pool.size", {{"pool", pool}, {"size", size}});
  co_return ok;
}

}  // namespace

Task<void> keep_pool(Impl impl) {
  const PoolSize& limits = impl->options.pool;
  CO_TRY_DO(co_await put_away_unserved(impl));
  if (limits.most == 0) {
    auto gone = co_await put_away(impl, impl->environment);
    if (!gone && gone.error().code != Code::cancelled)
      log::warn("pool.remove", {{"error", gone.error().what}});
    co_return ok;
  }
  Need need;
  std::uint64_t taken = 0;
  std::int64_t size = -1;
  for (bool failing = false;;) {
    CO_TRY(depth, co_await queue_depth(impl));
    const std::uint64_t now = impl->boxes->taken();
    const auto wanted = std::clamp(
        need.after(std::max(depth, static_cast<std::int64_t>(now - std::exchange(taken, now)))),
        limits.least, limits.most);
    if (wanted != size) {
      auto resized = co_await resize(impl, wanted);
      if (!resized && resized.error().code == Code::cancelled) co_return resized;
      if (!resized && !std::exchange(failing, true))
        log::warn("pool.resize", {{"error", resized.error().what}});
      if (resized) failing = false;
      size = resized ? wanted : -1;
    }
    CO_TRY_DO(co_await net::sleep(impl->options.pace.pool));
  }
}

}  // namespace glovebox::orchestrator

// Asking for work: one item at a time, as long as there is room for another session.
#include <algorithm>
#include <boost/json.hpp>

#include "base/log.h"
#include "base/metrics.h"
#include "net/deadline.h"
#include "net/task.h"
#include "orchestrator/impl.h"
#include "runner/json.h"
#include "runner/retry.h"

namespace glovebox::orchestrator {

namespace {

using Steady = std::chrono::steady_clock;

metrics::Counter polls("orchestrator_polls_total", "Polls of the queue that were answered.");
metrics::Counter poll_errors("orchestrator_poll_errors_total", "Polls that failed.");

runner::Poll poll_of(const Orchestrator::Impl& impl) {
  const Options& options = impl.options;
  runner::Poll poll{.environment = impl.environment,
                    .worker_id = options.worker_id,
                    .reclaim_older_than_ms = options.reclaim_older_than_ms};
  if (options.poll_block_ms > 0 && options.ask == Options::Ask::always)
    poll.block_ms = options.poll_block_ms;
  return poll;
}

// After an empty answer. A service that held the request has done the waiting; one that answers at
// once is asked less often.
Millis rest_after(const Options& options, Millis asked_for) {
  if (options.poll_block_ms > 0 && asked_for >= Millis(options.poll_block_ms) / 2) return 0ms;
  const Millis spread = options.pace.empty_most - options.pace.empty_least;
  // jittered() takes up to a quarter away: of four times the spread that is all of it.
  return options.pace.empty_least + (spread - (spread * 4 - runner::jittered(spread * 4)));
}

// The queue is empty: until a hint comes, or it is time to look without one.
Task<void> wait_for_hint(Impl impl) {
  const auto anyway = Steady::now() + impl->options.ask_anyway;
  while (!impl->hinted && !impl->draining) {
    if (impl->places == 0 && !impl->look_again) impl->set_busy(false);
    const auto until = std::min(anyway, impl->look_again.value_or(anyway));
    if (until <= Steady::now()) break;
    auto waited = co_await impl->changed.wait(std::chrono::ceil<Millis>(until - Steady::now()));
    if (!waited && waited.error().code != Code::timeout) co_return waited;
  }
  co_return ok;
}

Task<void> wait_for_room(Impl impl) {
  while (impl->full() && !impl->draining) {
    auto waited = co_await impl->changed.wait(net::kForever);
    if (!waited) co_return waited;
  }
  co_return ok;
}

}  // namespace

Task<void> pause(Impl impl, Millis time) {
  net::Deadline deadline(time);
  while (!impl->draining) {
    auto waited = co_await impl->changed.wait(deadline.left());
    if (waited) continue;
    if (waited.error().code == Code::timeout) co_return ok;
    co_return waited;
  }
  co_return ok;
}

Task<void> refused(Impl impl, Error error) {
  std::string advice;
  if (error.code == Code::unauthenticated || error.code == Code::forbidden)
    advice = "; is ANTHROPIC_ENVIRONMENT_KEY a key of this environment?";
  if (error.code == Code::not_found) advice = "; is ANTHROPIC_ENVIRONMENT_ID right?";
  error.what += advice;
  log::error("orchestrator.refused", {{"environment", impl->environment}, {"error", error.what}});
  impl->trouble = error.what;
  if (impl->options.when_refused == Options::Refused::stop) co_return error;
  // Until its time, or until a key is another one.
  const Secret before = *impl->environment_key;
  net::Deadline deadline(impl->options.pace.refused);
  while (!impl->draining && impl->environment_key->equals(before.reveal())) {
    auto waited = co_await impl->changed.wait(deadline.left());
    if (!waited && waited.error().code == Code::timeout) break;
    if (!waited) co_return waited;
  }
  co_return ok;
}

Task<void> poll_for_work(Impl impl) {
  const Options::Pace& pace = impl->options.pace;
  for (int failures = 0; !impl->draining;) {
    CO_TRY_DO(co_await wait_for_room(impl));
    if (impl->draining) break;
    const auto asked = Steady::now();
    impl->hinted = false;  // one that comes from now on may be of what this look does not see
    if (impl->look_again && *impl->look_again <= asked) impl->look_again.reset();
    auto work = co_await impl->service->poll(poll_of(*impl), impl->environment_key);
    if (!work) {
      if (work.error().code == Code::cancelled) co_return std::move(work.error());
      poll_errors.add();
      if (runner::fatal(work.error())) {
        CO_TRY_DO(co_await refused(impl, std::move(work.error())));
        continue;
      }
      impl->set_trouble("poll", work.error());
      CO_TRY_DO(co_await pause(impl, runner::jittered(runner::doubled(
                                         pace.first_backoff, failures++, pace.longest_backoff))));
      continue;
    }
    failures = 0;
    polls.add();
    impl->clear_trouble();
    // Not acknowledged, it goes back into the queue by itself.
    if (impl->draining) break;
    if (*work) {
      start_item(impl, std::move(**work), std::nullopt);
      continue;
    }
    if (impl->options.ask == Options::Ask::on_hint) {
      CO_TRY_DO(co_await wait_for_hint(impl));
      continue;
    }
    auto took = std::chrono::duration_cast<Millis>(Steady::now() - asked);
    if (Millis rest = rest_after(impl->options, took); rest > 0ms)
      CO_TRY_DO(co_await pause(impl, rest));
  }
  co_return ok;
}

Task<void> learn_environment(Impl impl) {
  const Options::Pace& pace = impl->options.pace;
  for (int failures = 0; !impl->draining;) {
    auto body = co_await impl->service->get("/glovebox/v1/credential", impl->environment_key);
    if (body) {
      CO_TRY(value, runner::parse_json(*body), "what the key is for");
      const std::string kind = runner::text(value, "kind"),
                        environment = runner::text(value, "environment_id");
      impl->service_is_ours = true;
      if (!impl->environment.empty()) co_return ok;
      if (kind == "environment" && !environment.empty()) {
        impl->environment = environment;
        co_return ok;
      }
      Error wrong{Code::forbidden,
                  str("the key is not one of an environment, but of kind `", kind, "`")};
      CO_TRY_DO(co_await refused(impl, std::move(wrong)));
      continue;
    }
    Error error = std::move(body.error());
    if (error.code == Code::cancelled) co_return error;
    // Whose service it is matters only where it must tell us the environment.
    if (!impl->environment.empty() && (runner::fatal(error) || failures >= 3)) co_return ok;
    if (error.code == Code::not_found)
      co_return Error{Code::invalid, str(impl->options.service_url,
                                         " does not tell which environment a key is for: set "
                                         "ANTHROPIC_ENVIRONMENT_ID")};
    if (runner::fatal(error)) {
      CO_TRY_DO(co_await refused(impl, std::move(error)));
      continue;
    }
    impl->set_trouble("credential", error);
    CO_TRY_DO(co_await pause(impl, runner::jittered(runner::doubled(pace.first_backoff, failures++,
                                                                    pace.longest_backoff))));
  }
  co_return ok;
}

Task<void> watch_stats(Impl impl) {
  const std::string target =
      str("/v1/environments/", http::encode_path(impl->environment), "/work/stats");
  bool warned = false;
  for (;;) {
    // First of all time passes, too: our own previous life counts as a poller for a while.
    CO_TRY_DO(co_await net::sleep(impl->options.pace.stats));
    auto key = impl->stats_key->empty() ? impl->environment_key : impl->stats_key;
    auto body = co_await impl->service->get(target, key);
    if (!body && body.error().code == Code::cancelled) co_return std::move(body.error());
    if (!body && runner::fatal(body.error())) co_return ok;  // not for us to see
    if (!body) continue;
    auto value = runner::parse_json(*body);
    const boost::json::value* count = value ? runner::member(*value, "workers_polling") : nullptr;
    const bool others = count && count->is_int64() && count->get_int64() > 1;
    if (others && !std::exchange(warned, true))
      log::warn("orchestrator.not_alone",
                {{"environment", impl->environment}, {"workers_polling", count->get_int64()}});
    if (!others) warned = false;
  }
}

}  // namespace glovebox::orchestrator

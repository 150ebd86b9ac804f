#include "orchestrator/orchestrator.h"

#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "net/deadline.h"
#include "net/task.h"
#include "orchestrator/impl.h"

namespace glovebox::orchestrator {

namespace {

constexpr int kReclaimDefault = 5'000;  // of the service, where we do not say

std::shared_ptr<runner::Service> make_service(net::Loop& loop, const Options& options,
                                              http::Url url) {
  runner::Service::Options made{.url = std::move(url),
                                .headers = options.headers,
                                .first_retry = options.pace.first_retry,
                                .longest_retry = options.pace.longest_retry};
  made.client.also_trust = options.also_trust;
  return std::make_shared<runner::Service>(loop, std::move(made));
}

BoxOptions box_options(const Options& options) {
  return {.image = options.image,
          .timeout_secs = options.sandbox_timeout_secs,
          .resume_suspended = options.resume_suspended,
          .also_trust = options.also_trust};
}

std::string default_worker_id() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  const std::string random = random_id(12);
  return *host ? str(host, '-', random) : random;
}

Result<void> check(const Options& options) {
  if (options.max_sessions < 1) return Error{Code::invalid, "max_sessions: must be at least 1"};
  if (options.poll_block_ms < 0 || options.poll_block_ms > 999)
    return Error{Code::invalid, "POLL_BLOCK_MS: must be from 1 to 999, or 0 for no long polls"};
  if (options.reclaim_older_than_ms && *options.reclaim_older_than_ms < 0)
    return Error{Code::invalid, "POLL_RECLAIM_OLDER_THAN_MS: must not be negative"};
  if (options.sandbox_timeout_secs < 0)
    return Error{Code::invalid, "SANDBOX_TIMEOUT_SECONDS: must not be negative"};
  return ok;
}

// Goes on with what an earlier process held.
Result<void> recover(Impl impl) {
  TRY(claims, impl->journal.all(impl->environment), "read the journal");
  for (Claim& claim : claims) {
    log::info("item.found",
              {{"work", claim.work}, {"session", claim.session}, {"state", name(claim.state)}});
    runner::Work work{.id = claim.work,
                      .environment_id = claim.environment,
                      .kind = claim.session.empty() ? "healthcheck" : "session",
                      .session_id = claim.session};
    start_item(impl, std::move(work), std::move(claim));
  }
  return ok;
}

Task<void> run_orchestrator(Impl impl) {
  CO_TRY_DO(co_await learn_environment(impl));
  if (impl->draining) co_return ok;
  CO_TRY(lock, lock_of(*impl, impl->environment));
  if (lock) impl->lock.emplace(std::move(*lock));
  log::info("orchestrator.serves", {{"environment", impl->environment},
                                    {"worker", impl->options.worker_id},
                                    {"service", impl->options.service_url}});
  CO_TRY_DO(recover(impl));
  impl->watches.spawn("stats", watch_stats(impl));
  impl->watches.spawn("clean", keep_clean(impl));
  impl->watches.spawn("pool", keep_pool(impl));
  if (!impl->options.webhook_box.empty()) {
    impl->watches.spawn("webhook_box", keep_webhook_box(impl));
    impl->watches.spawn("webhook_box.hints", hear_hints(impl));
  }
  co_return co_await poll_for_work(impl);
}

Task<void> run_to_the_end(Impl impl) {
  auto polled = co_await run_orchestrator(impl);
  if (!polled) {
    // Cancelled, or refused: what is held is left as it is, for the next process.
    impl->boxes->leave_calls();
    (void)co_await impl->items.finish(30s);
  }
  while (impl->places > 0 && polled) {
    auto waited = co_await impl->changed.wait(net::kForever);
    if (waited) continue;
    impl->boxes->leave_calls();
    (void)co_await impl->items.finish(30s);
    polled = waited;
  }
  (void)co_await impl->watches.finish(5s);
  (void)co_await impl->boxes->close(polled ? 5s : 0s);
  impl->lock.reset();
  co_return polled;
}

Task<void> drain_items(Impl impl, Millis limit) {
  net::Deadline deadline(limit);
  impl->draining = true;
  impl->changed.notify();
  log::info("orchestrator.drain", {{"sessions", impl->sessions.size()}});
  for (auto& [session, active] : impl->sessions)
    if (active.stop) active.stop();
  while (impl->places > 0 && deadline.left() > 0ms) {
    auto waited = co_await impl->changed.wait(deadline.left());
    if (!waited && waited.error().code == Code::cancelled) co_return waited;
  }
  if (impl->places == 0) co_return ok;
  // What the calls do goes on in their boxes; the journal knows the rest.
  log::warn("orchestrator.cut", {{"sessions", impl->sessions.size()}});
  impl->boxes->leave_calls();
  co_return co_await impl->items.finish(30s);
}

}  // namespace

Orchestrator::Impl::Impl(net::Loop& on, Options given, Keys keys, http::Url service_url,
                         http::Url engine_url, Journal opened)
    : loop(on),
      options(std::move(given)),
      environment_key(std::make_shared<Secret>(std::move(keys.environment))),
      engine_key(std::make_shared<Secret>(std::move(keys.engine))),
      uplink_key(std::make_shared<Secret>(std::move(keys.uplink))),
      stats_key(std::make_shared<Secret>(std::move(keys.stats))),
      service(make_service(loop, options, std::move(service_url))),
      boxes(std::make_shared<Boxes>(loop, std::move(engine_url), engine_key, box_options(options))),
      journal(std::move(opened)),
      environment(options.environment_id),
      items(loop),
      watches(loop) {}

void Orchestrator::Impl::set_busy(bool now) {
  if (std::exchange(busy, now) != now && options.on_busy) options.on_busy(now);
}

void Orchestrator::Impl::hint() {
  hinted = true;
  set_busy(true);
  changed.notify();
}

void Orchestrator::Impl::comes_again() {
  set_busy(true);
  look_again = std::chrono::steady_clock::now() +
               Millis(options.reclaim_older_than_ms.value_or(kReclaimDefault));
  changed.notify();
}

void Orchestrator::Impl::set_trouble(std::string_view where, const Error& error) {
  if (trouble.empty()) log::warn("orchestrator.trouble", {{"at", where}, {"error", error.what}});
  trouble = error.what;
}

void Orchestrator::Impl::clear_trouble() {
  if (!trouble.empty()) log::info("orchestrator.well");
  trouble.clear();
}

Result<std::optional<EnvironmentLock>> lock_of(const Orchestrator::Impl& impl,
                                               const std::string& environment) {
  const Options& options = impl.options;
  const std::string& locks = options.lock_dir.empty() ? options.state_dir : options.lock_dir;
  if (locks.empty()) return std::optional<EnvironmentLock>();
  TRY(lock, EnvironmentLock::take(locks, environment));
  return std::optional(std::move(lock));
}

Result<std::unique_ptr<Orchestrator>> Orchestrator::open(net::Loop& loop, Options options,
                                                         Keys keys) {
  TRY_DO(check(options));
  TRY(service, http::Url::parse(options.service_url), "the service's URL");
  TRY(engine, http::Url::parse(options.engine_url), "the engine's URL");
  if (options.worker_id.empty()) options.worker_id = default_worker_id();
  TRY(journal,
      Journal::open(options.state_dir.empty() ? ":memory:" : options.state_dir + "/journal.db"));
  auto impl = std::make_shared<Impl>(loop, std::move(options), std::move(keys), std::move(service),
                                     engine, std::move(journal));
  if (impl->options.runner == Options::Runner::inside || !impl->options.webhook_box.empty()) {
    TRY(uplink, http::Url::parse(impl->options.uplink_url), "the uplink's URL");
    impl->engine = std::make_shared<EngineApi>(loop, std::move(engine), impl->engine_key);
    impl->uplink = std::make_shared<UplinkApi>(loop, std::move(uplink), impl->uplink_key);
  }
  return std::unique_ptr<Orchestrator>(new Orchestrator(std::move(impl)));
}

Orchestrator::Orchestrator(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Orchestrator::~Orchestrator() = default;

void Orchestrator::set_keys(Keys keys) {
  *impl_->environment_key = std::move(keys.environment);
  *impl_->engine_key = std::move(keys.engine);
  *impl_->uplink_key = std::move(keys.uplink);
  *impl_->stats_key = std::move(keys.stats);
  impl_->changed.notify();
}

void Orchestrator::hint() { impl_->hint(); }

Task<void> Orchestrator::run() { return run_to_the_end(impl_); }

Task<void> Orchestrator::drain(Millis limit) { return drain_items(impl_, limit); }

Orchestrator::Status Orchestrator::status() const {
  return {.environment_id = impl_->environment,
          .worker_id = impl_->options.worker_id,
          .sessions = impl_->sessions.size(),
          .trouble = impl_->trouble};
}

}  // namespace glovebox::orchestrator

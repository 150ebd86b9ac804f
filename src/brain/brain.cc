#include "brain/brain.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "base/log.h"
#include "brain/api.h"
#include "brain/bootstrap.h"
#include "brain/sqlite_store.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

constexpr Millis kTick{1'000};
constexpr int kPruneEvery = 3600;  // ticks
constexpr Micros kDay = 86'400'000'000;
constexpr int kKeepMemoryVersionsDays = 30, kKeepDeliveriesDays = 7;
constexpr int kExpiredFilesDays = 30;  // that they were there is still said

// The wall clock as it was at the start, and from there on the time that passes: a lease neither
// ends nor lasts because somebody set the clock.
std::function<Micros()> clock_of_leases() {
  using Steady = std::chrono::steady_clock;
  return [began = now_us(), since = Steady::now()] {
    return began +
           std::chrono::duration_cast<std::chrono::microseconds>(Steady::now() - since).count();
  };
}

}  // namespace

struct Brain::Impl {
  Impl(net::Loop& loop, Options given, BrainKeys keys, std::unique_ptr<SqliteStore> opened,
       std::unique_ptr<ModelSwitch> model_switch, Seal seal)
      : loop(loop),
        options(std::move(given)),
        store(std::move(opened)),
        log(loop, *store),
        queue(loop, *store, {.ttl_secs = options.lease_ttl_secs, .now = clock_of_leases()}),
        model(std::move(model_switch)),
        webhooks(loop, *store, *store, std::move(seal), options.instance,
                 {.allow_private = options.webhooks_allow_private,
                  .own_domain = options.ingress_domain,
                  .own_port = options.ingress_port,
                  .also_trust = options.also_trust}),
        sessions(loop, *store, log, queue, *model, {.announcer = &webhooks}),
        keyring(*store, std::move(keys)),
        sync(loop, [kept = store.get()] { return kept->sync(); }),
        api{loop,     options, *store, *store,   *store, *store,  log,
            webhooks, *store,  queue,  sessions, *model, keyring, sync},
        tasks(loop) {}

  // Never ends: a tick that fails is logged, and the next one tries again.
  static Task<void> keep_time(Impl& self) {
    for (int tick = 0;; ++tick) {
      if (auto done = self.queue.tick(); !done)
        log::error("brain.tick_failed", {{"error", done.error().what}});
      if (self.options.keep_events_days > 0 && tick % kPruneEvery == 0) {
        auto pruned = co_await prune_sessions(*self.store, self.sessions,
                                              now_us() - self.options.keep_events_days * kDay);
        if (!pruned && pruned.error().code != Code::cancelled)
          log::error("brain.prune_failed", {{"error", pruned.error().what}});
      }
      if (tick % kPruneEvery == 0) {
        auto swept = self.store->sweep_memory_versions(now_us() - kKeepMemoryVersionsDays * kDay);
        if (swept) swept = self.webhooks.sweep(now_us() - kKeepDeliveriesDays * kDay);
        if (!swept) log::error("brain.sweep_failed", {{"error", swept.error().what}});
        auto expired = self.store->sweep_files(now_us(), now_us() - kExpiredFilesDays * kDay);
        if (!expired) log::error("brain.sweep_failed", {{"error", expired.error().what}});
      }
      CO_TRY_DO(co_await net::sleep(kTick));
    }
  }

  net::Loop& loop;
  Options options;
  std::unique_ptr<SqliteStore> store;
  EventLog log;
  Queue queue;
  std::unique_ptr<ModelSwitch> model;
  Webhooks webhooks;
  Sessions sessions;
  Keyring keyring;
  GroupSync sync;
  ApiState api;
  net::TaskGroup tasks;  // last: nothing of the others goes while one of these runs
};

Brain::Brain(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Brain::~Brain() = default;

Task<std::unique_ptr<Brain>> Brain::open(net::Loop& loop, Options options, BrainKeys keys) {
  const std::string path =
      options.state_dir.empty() ? ":memory:" : str(options.state_dir, "/brain.db");
  CO_TRY(store, SqliteStore::open(path));
  CO_TRY(model, ModelSwitch::make(loop, options.model));
  Seal seal(std::move(keys.seal));
  auto impl = std::make_unique<Impl>(loop, std::move(options), std::move(keys), std::move(store),
                                     std::move(model), std::move(seal));
  CO_TRY_DO(make_defaults(*impl->store, impl->options.default_model));
  CO_TRY_DO(register_embedded_key(*impl->store, impl->keyring.keys().environment));
  CO_TRY_DO(impl->webhooks.open(), "open webhooks");
  CO_TRY_DO(impl->sessions.recover(), "recover sessions");
  impl->tasks.spawn("brain.time", Impl::keep_time(*impl));
  log::info("brain.open", {{"model", impl->model->kind()}, {"instance", impl->options.instance}});
  co_return std::unique_ptr<Brain>(new Brain(std::move(impl)));
}

void Brain::set_keys(BrainKeys keys) {
  impl_->keyring.set(std::move(keys));
  auto done = register_embedded_key(*impl_->store, impl_->keyring.keys().environment);
  if (!done) log::error("brain.key_failed", {{"error", done.error().what}});
}

Result<void> Brain::set_model(ModelOptions model) {
  TRY_DO(impl_->model->set(model));
  impl_->options.model = std::move(model);
  log::info("brain.model", {{"model", impl_->model->kind()}});
  return ok;
}

std::vector<http::Route> Brain::routes() { return api_routes(impl_->api); }
http::ServerOptions Brain::server_options() { return api_options(impl_->keyring); }

Task<void> Brain::close(Millis limit) {
  auto ticked = co_await impl_->tasks.finish(limit);
  auto closed = co_await impl_->sessions.close(limit);
  auto told = co_await impl_->webhooks.close(limit);
  impl_->log.end();
  auto synced = co_await impl_->sync.close(limit);
  for (auto* ended : {&ticked, &closed, &told, &synced})
    if (!*ended) co_return std::move(ended->error());
  co_return ok;
}

}  // namespace glovebox::brain

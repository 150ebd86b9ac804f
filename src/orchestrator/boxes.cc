#include "orchestrator/boxes.h"

#include "base/log.h"
#include "base/metrics.h"
#include "net/deadline.h"
#include "net/task.h"
#include "runner/retry.h"

namespace glovebox::orchestrator {

namespace {

metrics::Counter created("orchestrator_boxes_created_total", "Sandboxes made for sessions.");

constexpr int kEndAttempts = 5;

}  // namespace

struct Boxes::Impl {
  net::Loop& loop;
  EngineApi api;
  const BoxOptions options;
  net::TaskGroup endings;
  std::string pool = {};
  std::uint64_t taken = 0;
  bool leaving = false;
};

namespace {

using Impl = std::shared_ptr<Boxes::Impl>;
using For = Boxes::For;

// Those there are once the session's own are made.
Task<std::vector<BoxVolume>> volumes_of(Impl impl, BoxWish wish) {
  std::vector<BoxVolume> volumes;
  for (BoxVolume& volume : wish.volumes) {
    auto made = volume.own ? co_await impl->api.make_volume(volume.name) : Result<void>(ok);
    const bool away = !made && may_pass(made.error()) && made.error().code != Code::exhausted;
    if (!made && (!volume.optional || away || made.error().code == Code::cancelled))
      co_return std::move(made.error()).with(str("volume ", volume.name));
    if (made)
      volumes.push_back(std::move(volume));
    else
      log::warn("box.without_volume", {{"volume", volume.name}, {"error", made.error().what}});
  }
  co_return volumes;
}

// Whether it is like those of the pool, which say nothing of what the operator did not.
bool is_usual(const BoxWish& wish) {
  return wish.image.empty() && wish.snapshot.empty() && wish.isolation.empty() && !wish.internet;
}

Task<Box> make_box(Impl impl, NewBox wanted, bool usual) {
  if (usual) ++impl->taken;
  if (usual && !impl->pool.empty()) {
    auto claimed = co_await impl->api.claim(impl->pool, wanted);
    const bool final = claimed || claimed.error().tag == "NAME_TAKEN" ||
                       claimed.error().code == Code::cancelled || may_pass(claimed.error());
    if (final) co_return claimed;
    log::warn("box.no_claim", {{"pool", impl->pool}, {"error", claimed.error().what}});
  }
  co_return co_await impl->api.create(std::move(wanted));
}

// One step towards a running box: the box, or nothing where another look is needed.
Task<std::optional<Box>> approach(Impl impl, std::string name, For what, BoxWish wish) {
  CO_TRY(found, co_await impl->api.find(name), "find sandbox ", name);
  if (!found) {
    const BoxOptions& options = impl->options;
    NewBox wanted{name, wish.image.empty() ? options.image : wish.image, options.timeout_secs};
    wanted.snapshot = wish.snapshot;
    // The files of a snapshot say themselves which image they lie above.
    if (!wish.snapshot.empty() && wish.image.empty()) wanted.image.clear();
    wanted.isolation = wish.isolation;
    wanted.internet = wish.internet;
    CO_TRY(volumes, co_await volumes_of(impl, wish));
    wanted.volumes = std::move(volumes);
    auto made = co_await make_box(impl, std::move(wanted), is_usual(wish));
    if (!made && made.error().tag == "NAME_TAKEN") co_return std::optional<Box>();
    if (!made) co_return std::move(made.error()).with(str("create sandbox ", name));
    created.add();
    log::info("box.created", {{"box", made->id}, {"name", name}});
    co_return std::optional<Box>(std::move(*made));
  }
  if (wish.ephemeral && what == For::new_burst) {
    CO_TRY_DO(co_await impl->api.remove(found->id), "replace sandbox ", name);
    log::info("box.replaced", {{"box", found->id}, {"name", name}});
    co_return std::optional<Box>();
  }
  if (found->status == "running") co_return found;
  if (found->status == "suspended") {
    if (what == For::in_use || impl->options.resume_suspended) {
      CO_TRY_DO(co_await impl->api.resume(found->id), "resume sandbox ", name);
      log::info("box.resumed", {{"box", found->id}, {"name", name}});
    } else {
      CO_TRY_DO(co_await impl->api.remove(found->id), "replace sandbox ", name);
      log::info("box.replaced", {{"box", found->id}, {"name", name}});
    }
  }
  co_return std::optional<Box>();  // pending, suspending, snapshotting: it is on its way somewhere
}

Task<void> end_call(Impl impl, std::string box, std::string call) {
  for (int attempt = 0; attempt < kEndAttempts; ++attempt) {
    auto ended = co_await impl->api.end_call(box, call);
    if (ended || !may_pass(ended.error())) co_return ok;
    CO_TRY_DO(co_await net::sleep(
        runner::doubled(impl->options.first_retry, attempt, impl->options.longest_retry)));
  }
  co_return ok;
}

Task<Box> get_box(Impl impl, std::string name, For what, BoxWish wish) {
  net::Deadline deadline(impl->options.patience);
  Error last{Code::timeout, str("sandbox ", name, " is in no stable state")};
  for (int attempt = 0;; ++attempt) {
    auto step = co_await approach(impl, name, what, wish);
    if (step && *step) co_return std::move(**step);
    if (!step && !may_pass(step.error())) co_return std::move(step.error());
    if (!step) {
      if (last.code != step.error().code)
        log::warn("box.wait", {{"name", name}, {"error", step.error().what}});
      last = std::move(step.error());
    }
    if (deadline.left() <= 0ms) co_return last;
    CO_TRY_DO(co_await net::sleep(runner::jittered(
        runner::doubled(impl->options.first_retry, attempt, impl->options.longest_retry))));
  }
}

}  // namespace

Boxes::Boxes(net::Loop& loop, http::Url engine, std::shared_ptr<const Secret> key,
             BoxOptions options)
    : impl_(new Impl{loop, EngineApi(loop, std::move(engine), std::move(key), options.also_trust),
                     std::move(options), net::TaskGroup(loop)}) {}
Boxes::~Boxes() = default;

Task<Box> Boxes::get(std::string name, For what, BoxWish wish) {
  return get_box(impl_, std::move(name), what, std::move(wish));
}

void Boxes::use_pool(std::string pool) { impl_->pool = std::move(pool); }
std::uint64_t Boxes::taken() const { return impl_->taken; }

EngineApi& Boxes::api() { return impl_->api; }

Task<runner::ToolResult> Boxes::call(std::string box, runner::ToolCall call) {
  return impl_->api.call(std::move(box), std::move(call));
}

void Boxes::end_call(std::string box, std::string call) {
  if (impl_->leaving) return;
  impl_->endings.spawn("box.end_call",
                       orchestrator::end_call(impl_, std::move(box), std::move(call)));
}

void Boxes::leave_calls() { impl_->leaving = true; }

const BoxOptions& Boxes::options() const { return impl_->options; }

Task<void> Boxes::close(Millis limit) {
  net::Deadline deadline(limit);
  // What is to be ended is ended, as long as there is time.
  while (impl_->endings.size() > 0 && deadline.left() > 0ms)
    CO_TRY_DO(co_await net::sleep(std::min(deadline.left(), Millis(10))));
  co_return co_await impl_->endings.finish(1s);
}

}  // namespace glovebox::orchestrator

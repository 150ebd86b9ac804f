// The box that takes webhooks for us: its way to here is kept open, and what it says is a hint.
// Whoever made it (app/webhook_box.cc) is not needed any more.
#include "base/log.h"
#include "net/task.h"
#include "orchestrator/impl.h"
#include "runner/retry.h"

namespace glovebox::orchestrator {

namespace {

// Opened once for each life of the uplink, of the box, or of its network; that wakes it.
Task<void> keep_open(Impl impl) {
  CO_TRY(box, co_await impl->engine->find(impl->options.webhook_box));
  if (!box || (box->status != "running" && box->status != "suspended")) co_return ok;
  CO_TRY(door, co_await impl->uplink->keep_door(box->id));
  if (door.listening) co_return ok;
  CO_TRY_DO(co_await impl->engine->open_uplink(box->id, kWebhookDoorPort));
  log::info("webhook_box.open", {{"box", box->id}, {"name", impl->options.webhook_box}});
  // What it was told before it could pass that on.
  impl->hint();
  co_return ok;
}

}  // namespace

Task<void> keep_webhook_box(Impl impl) {
  bool failing = false;
  for (;;) {
    auto kept = co_await keep_open(impl);
    if (!kept && kept.error().code == Code::cancelled) co_return kept;
    if (!kept && !std::exchange(failing, true))
      log::warn("webhook_box.door", {{"error", kept.error().what}});
    if (kept) failing = false;
    CO_TRY_DO(co_await net::sleep(impl->options.pace.supply));
  }
}

Task<void> hear_hints(Impl impl) {
  std::uint64_t heard = 0;
  for (int failures = 0;;) {
    auto now = co_await impl->uplink->hints(heard);
    if (!now && now.error().code == Code::cancelled) co_return std::move(now.error());
    if (!now) {
      CO_TRY_DO(co_await net::sleep(runner::doubled(100ms, failures++, 5s)));
      continue;
    }
    failures = 0;
    if (*now != heard) impl->hint();
    heard = *now;
  }
}

}  // namespace glovebox::orchestrator

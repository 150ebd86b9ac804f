// What sessions leave behind: boxes that sleep, volumes. Only what the journal says we made is ever
// touched, by name; nothing is found in a list. A session that is held is left alone, and is held
// by us while its box goes.
#include <algorithm>
#include <boost/json.hpp>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "net/task.h"
#include "orchestrator/impl.h"
#include "orchestrator/session_policy.h"
#include "runner/json.h"
#include "wire/outputs.h"

namespace glovebox::orchestrator {

namespace {

metrics::Counter boxes_cleaned(
    "orchestrator_boxes_cleaned_total",
    "Sandboxes of sessions removed by age, by number, or with the session.");
metrics::Counter volumes_cleaned("orchestrator_volumes_cleaned_total",
                                 "Volumes of sessions removed by age.");

constexpr std::size_t kAskedAtOnce = 50;  // sessions asked about in one look

std::int64_t now_ms() { return system_clock().unix_ms(); }

bool older(std::int64_t used_ms, Millis limit) {
  return limit > 0ms && now_ms() - used_ms > limit.count();
}

// Whether nothing will ever come of it again. What cannot be read is not over.
Task<bool> is_over(Impl impl, std::string session) {
  auto read = co_await impl->service->session(session, impl->environment_key);
  if (!read) {
    if (read.error().code == Code::cancelled) co_return std::move(read.error());
    co_return read.error().code == Code::not_found || read.error().code == Code::gone;
  }
  if (read->status == "terminated") co_return true;
  auto whole = runner::parse_json(read->json);
  co_return whole && !runner::text(*whole, "archived_at").empty();
}

Task<void> remove_box(Impl impl, Leftover one, std::string why) {
  CO_TRY(box, co_await impl->boxes->api().find(one.box), "find sandbox ", one.box);
  if (box) {
    // Somebody used it without us: it counts from then on.
    if (why == "age" && !older(box->last_activity_ms, impl->options.keep.boxes_for))
      co_return impl->journal.used(impl->environment, one.session, one.box, box->last_activity_ms);
    if (box->status != "running" && box->status != "suspended") co_return ok;  // later
    CO_TRY_DO(co_await impl->boxes->api().remove(box->id), "remove sandbox ", one.box);
    boxes_cleaned.add();
    log::info("box.cleaned",
              {{"box", box->id}, {"name", one.box}, {"session", one.session}, {"why", why}});
  }
  CO_FAULT("orchestrator.after_clean");
  // Volumes that stay for ever need no memory that grows for as long.
  co_return impl->options.keep.volumes_for > 0ms ? impl->journal.box_gone(one.session)
                                                 : impl->journal.all_gone(one.session);
}

Task<void> remove_volumes(Impl impl, Leftover one) {
  for (const std::string& name : {wire::outputs_volume(one.session), own_volume(one.session)}) {
    auto removed = co_await impl->boxes->api().remove_volume(name);
    if (!removed && removed.error().code == Code::conflict) co_return ok;  // a box has it: later
    if (!removed) co_return std::move(removed.error()).with(str("remove volume ", name));
    log::info("volume.cleaned", {{"volume", name}, {"session", one.session}});
  }
  volumes_cleaned.add();
  co_return impl->journal.all_gone(one.session);
}

// Of those that no age or number ends: some in each look, all of them in turn.
Task<std::vector<Leftover>> of_ended_sessions(Impl impl, std::vector<Leftover> boxes) {
  std::ranges::sort(boxes, {}, &Leftover::session);
  auto next = std::ranges::upper_bound(boxes, impl->last_checked, {}, &Leftover::session);
  std::ranges::rotate(boxes, next);
  if (boxes.size() > kAskedAtOnce) boxes.resize(kAskedAtOnce);
  std::vector<Leftover> ended;
  for (Leftover& one : boxes) {
    impl->last_checked = one.session;
    CO_TRY(over, co_await is_over(impl, one.session));
    if (over) ended.push_back(std::move(one));
  }
  co_return ended;
}

Task<void> remove(Impl impl, Leftover one, std::string why) {
  Seat seat(impl, one.session, "clean-up");
  // The list is from before all that was waited for since: a session that came back meanwhile and
  // has ended is no longer what was judged.
  CO_TRY(now, impl->journal.leftover(one.session));
  if (now != one) co_return ok;
  if (one.has_box) co_return co_await remove_box(impl, one, std::move(why));
  co_return co_await remove_volumes(impl, one);
}

Task<void> each(Impl impl, std::vector<Leftover> those, std::string why) {
  for (Leftover& one : those) {
    if (impl->sessions.contains(one.session)) continue;
    auto removed = co_await remove(impl, one, why);
    if (!removed && removed.error().code == Code::cancelled) co_return removed;
    if (!removed)
      log::warn("session.clean", {{"session", one.session}, {"error", removed.error().what}});
  }
  co_return ok;
}

Task<void> clean(Impl impl) {
  const Keep& keep = impl->options.keep;
  CO_TRY(known, impl->journal.leftovers(impl->environment));
  std::erase_if(known, [&](auto& one) { return impl->sessions.contains(one.session); });
  std::vector<Leftover> boxes, old, many, volumes;
  for (Leftover& one : known)
    if (one.has_box)
      boxes.push_back(std::move(one));
    else if (older(one.used_ms, keep.volumes_for))
      volumes.push_back(std::move(one));
  while (!boxes.empty() && older(boxes.front().used_ms, keep.boxes_for)) {
    old.push_back(std::move(boxes.front()));
    boxes.erase(boxes.begin());
  }
  while (keep.boxes > 0 && boxes.size() > keep.boxes) {
    many.push_back(std::move(boxes.front()));
    boxes.erase(boxes.begin());
  }
  CO_TRY_DO(co_await each(impl, std::move(old), "age"));
  CO_TRY_DO(co_await each(impl, std::move(many), "number"));
  CO_TRY(ended, co_await of_ended_sessions(impl, std::move(boxes)));
  CO_TRY_DO(co_await each(impl, std::move(ended), "session"));
  co_return co_await each(impl, std::move(volumes), "age");
}

}  // namespace

Task<void> keep_clean(Impl impl) {
  for (;;) {
    CO_TRY_DO(co_await net::sleep(impl->options.pace.clean));
    auto cleaned = co_await clean(impl);
    if (!cleaned && cleaned.error().code == Code::cancelled) co_return cleaned;
    if (!cleaned) log::warn("orchestrator.clean", {{"error", cleaned.error().what}});
  }
}

}  // namespace glovebox::orchestrator

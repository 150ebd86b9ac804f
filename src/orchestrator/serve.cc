// One item: claimed, run by the runner with hands from the engine, put away.
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "net/deadline.h"
#include "net/task.h"
#include "orchestrator/impl.h"
#include "orchestrator/inside.h"
#include "orchestrator/session_files.h"
#include "orchestrator/session_policy.h"

namespace glovebox::orchestrator {

namespace {

metrics::Gauge running("orchestrator_sessions", "Sessions held now.");
metrics::Counter claimed("orchestrator_items_claimed_total", "Items taken from the queue.");
metrics::Counter recovered("orchestrator_items_recovered_total",
                           "Items found in the journal and gone on with.");
metrics::Counter failed("orchestrator_items_failed_total",
                        "Items that ended with an error of ours.");

// A session has one item at a time. A second one waits a moment for the first to end (the queue
// makes it while the first is being stopped), and else stays unacknowledged: it comes again.
Task<bool> session_is_free(Impl impl, std::string session) {
  Millis limit = impl->options.pace.same_session;
  if (auto reclaim = impl->options.reclaim_older_than_ms)
    limit = std::min(limit, Millis(*reclaim) / 2);
  net::Deadline deadline(limit);
  while (impl->sessions.contains(session)) {
    auto waited = co_await impl->changed.wait(deadline.left());
    if (waited) continue;
    if (waited.error().code == Code::timeout) co_return false;
    co_return std::move(waited.error());
  }
  co_return true;
}

runner::LeaseStart lease_start(const std::optional<Claim>& from) {
  runner::LeaseStart start;
  if (!from) return start;
  const std::int64_t age = system_clock().unix_ms() - from->touched_ms;
  start.in_doubt = true;
  if (!from->last_heartbeat.empty()) start.last_heartbeat = from->last_heartbeat;
  start.ttl = Millis(from->ttl_ms);
  // A wall clock that was set back says nothing about how long we were away.
  start.age = age >= 0 ? Millis(age) : std::chrono::hours(24);
  return start;
}

Task<std::shared_ptr<runner::Hands>> make_hands(Impl impl, std::string work, runner::Bearer token,
                                                runner::Session session, std::string known_box,
                                                std::optional<Error> refusal) {
  auto note = [weak = std::weak_ptr(impl), work](std::string box) {
    auto impl = weak.lock();
    if (!impl) return;
    if (auto noted = impl->journal.box(work, box); !noted)
      log::error("journal.box", {{"work", work}, {"error", noted.error().what}});
  };
  CO_FAULT("orchestrator.before_box");
  runner::Bearer bearer = token ? token : impl->environment_key;
  auto tell = [impl, bearer, session = session.id](std::string why) {
    return tell_session(impl, session, std::move(why), bearer);
  };
  if (refusal) co_return refusing(std::move(*refusal), std::move(tell));
  auto wish = wish_for(impl, session);
  if (!wish) co_return refusing(std::move(wish.error()), std::move(tell));
  note_box(impl, session.id);
  auto prepare = preparation_of(impl, session.id, *wish, bearer);
  auto hands = std::make_shared<BoxHands>(impl->boxes, box_name(session.id), std::move(known_box),
                                          std::move(note), std::move(*wish), std::move(prepare));
  runner::SessionAccess access{*impl->service, std::move(session), bearer, token != nullptr};
  co_return explaining(equipped_box(impl->loop, impl->boxes, std::move(hands), std::move(access),
                                    impl->options.unpack),
                       std::move(tell));
}

std::shared_ptr<runner::Item> make_item(Impl impl, runner::Work work,
                                        const std::optional<Claim>& from,
                                        std::optional<Error> refusal = {}) {
  const Options& options = impl->options;
  runner::ItemOptions item_options;
  item_options.session.max_idle = options.max_idle;
  item_options.session.tool_limit = options.tool_limit;
  item_options.lease.stall_limit = options.stall_limit;
  // Ours offers a session with open calls anew at once; of another one we do not know that, and a
  // session that nobody is offered would wait for ever.
  item_options.stop_with_open_calls = impl->service_is_ours;
  item_options.taken_up = from.has_value();
  const std::string id = work.id;
  auto token = work.token.empty() ? nullptr : std::make_shared<const Secret>(work.token);
  auto hands = [impl, id, token, box = from ? from->box : "", refusal](runner::Session session) {
    return make_hands(impl, id, token, std::move(session), box, refusal);
  };
  auto item = std::make_shared<runner::Item>(impl->loop, *impl->service, std::move(work),
                                             impl->environment_key, std::move(hands), item_options,
                                             lease_start(from));
  item->on_beat([weak = std::weak_ptr(impl), id](const runner::LeaseStart& now) {
    auto impl = weak.lock();
    if (!impl) return;
    auto noted = impl->journal.beat(id, now.last_heartbeat,
                                    system_clock().unix_ms() - now.age.count(), now.ttl.count());
    if (!noted) log::error("journal.beat", {{"work", id}, {"error", noted.error().what}});
  });
  return item;
}

// Ours, and in the journal as ours.
Task<void> claim(Impl impl, const runner::Work& work, const std::optional<Claim>& from) {
  if (from) {
    recovered.add();
  } else {
    claimed.add();
    Claim claim{.work = work.id,
                .environment = work.environment_id,
                .session = work.session_id,
                .touched_ms = system_clock().unix_ms()};
    CO_TRY_DO(impl->journal.add(claim));
  }
  CO_FAULT("orchestrator.before_ack");
  if (!from || from->state == Claim::State::claimed)
    CO_TRY_DO(co_await impl->service->ack(work.environment_id, work.id, impl->environment_key));
  CO_FAULT("orchestrator.after_ack");
  CO_TRY_DO(impl->journal.hold(work.id));
  co_return ok;
}

void forget(Impl impl, const std::string& work) {
  if (auto removed = impl->journal.remove(work); !removed)
    log::error("journal.remove", {{"work", work}, {"error", removed.error().what}});
}

void tell_end(const runner::Work& work, const runner::ItemEnd& end) {
  const bool bad = end.how == runner::ItemEnd::How::failed;
  if (bad) failed.add();
  log::write(bad ? log::Level::error : log::Level::info, "item.end",
             {{"work", work.id},
              {"session", work.session_id},
              {"end", name(end.how)},
              {"why", end.why},
              {"stopped", end.stopped},
              {"open_calls", end.open_calls}});
}

// It has been used until now, if it has had a box at all.
void note_use(Impl impl, const std::string& session) {
  auto noted = impl->journal.used_until(session, system_clock().unix_ms());
  if (!noted) log::error("journal.used", {{"session", session}, {"error", noted.error().what}});
}

template <class Runner>
Task<runner::ItemEnd> run_with(Impl impl, std::string session, std::shared_ptr<Runner> runner) {
  impl->sessions[session].stop = [runner] { runner->stop(); };
  if (impl->draining) runner->stop();
  co_return co_await runner->run();
}

Task<runner::ItemEnd> run_item(Impl impl, runner::Work work, std::optional<Claim> from,
                               std::string session) {
  if (impl->options.runner != Options::Runner::inside || work.kind != "session")
    co_return co_await run_with(impl, session, make_item(impl, work, from));
  auto inside = std::make_shared<InsideRun>(impl, work, from ? from->box : std::string());
  auto end = co_await run_with(impl, session, inside);
  // Nobody can work in there: what the calls are answered with is said from here.
  if (inside->refusal())
    co_return co_await run_with(impl, session, make_item(impl, work, from, inside->refusal()));
  co_return end;
}

Task<void> serve(Impl impl, runner::Work work, std::optional<Claim> from, std::shared_ptr<Place>) {
  if (work.environment_id.empty()) work.environment_id = impl->environment;
  const std::string session = work.session_id.empty() ? work.id : work.session_id;
  CO_TRY(is_free, co_await session_is_free(impl, session));
  if (!is_free) {
    log::info("item.later", {{"work", work.id}, {"session", session}});
    impl->comes_again();
    co_return ok;
  }
  if (impl->draining && !from) co_return ok;  // unacknowledged, it is the queue's again soon
  Seat seat(impl, session, work.id);
  log::info("item.claim", {{"work", work.id}, {"session", work.session_id}, {"kind", work.kind}});
  auto ours = co_await claim(impl, work, from);
  if (!ours) {
    // Taken back by the queue, or somebody else's by now: no item of ours, and nothing to stop.
    if (ours.error().code != Code::cancelled) forget(impl, work.id);
    impl->comes_again();
    co_return ours;
  }
  auto end = co_await run_item(impl, work, from, session);
  if (!end && end.error().code == Code::cancelled) co_return ok;  // the journal keeps it
  if (!work.session_id.empty()) note_use(impl, work.session_id);
  CO_FAULT("orchestrator.before_forget");
  if (!end || !end->ours) forget(impl, work.id);
  if (!end) co_return end.error();
  tell_end(work, *end);
  impl->hint();  // the session may have a next item, which was kept back for this one's end
  co_return ok;
}

}  // namespace

Seat::Seat(Impl impl, std::string session, std::string work)
    : impl_(std::move(impl)), session_(std::move(session)) {
  impl_->sessions[session_].work = std::move(work);
  running.add(1);
}
Seat::~Seat() {
  impl_->sessions.erase(session_);
  running.add(-1);
  impl_->changed.notify();
}

Result<BoxWish> wish_for(Impl impl, const runner::Session& session) {
  TRY(wish, wish_of(session, impl->options.ceiling));
  if (!impl->options.fetches && !wish.sources.all.empty())
    return Error{Code::unsupported,
                 "what takes the work is a sandbox without network, which fetches nothing "
                 "(orchestrator.runner = \"outside\" does)",
                 kSessionFiles};
  return wish;
}

Preparation preparation_of(Impl impl, const std::string& session, const BoxWish& wish,
                           runner::Bearer bearer) {
  const Ceiling& ceiling = impl->options.ceiling;
  FilePolicy policy{.web = {ceiling.hosts, ceiling.also_trust},
                    .directories = ceiling.directories,
                    .bytes = ceiling.file_bytes,
                    .time = ceiling.file_time,
                    .retry = impl->options.pace.first_retry};
  std::vector<std::string> kept;
  for (const BoxVolume& volume : wish.volumes)
    if (volume.own) kept.push_back(volume.path);
  return placing(impl->loop, impl->boxes, policy,
                 {impl->service, std::move(bearer), impl->service_is_ours}, session, wish.sources,
                 std::move(kept));
}

void note_box(Impl impl, const std::string& session) {
  auto noted =
      impl->journal.used(impl->environment, session, box_name(session), system_clock().unix_ms());
  if (!noted) log::error("journal.used", {{"session", session}, {"error", noted.error().what}});
}

Task<void> tell_session(Impl impl, std::string session, std::string why, runner::Bearer bearer) {
  if (!impl->service_is_ours) co_return ok;
  const std::string body = str(R"({"message":")", json_escape(why), "\"}");
  auto told = co_await impl->service->call(
      "POST", str("/glovebox/v1/sessions/", http::encode_path(session), "/errors"), body,
      runner::Service::Family::agents, bearer);
  if (!told && told.error().code == Code::cancelled) co_return std::move(told.error());
  if (!told) log::warn("session.tell", {{"session", session}, {"error", told.error().what}});
  co_return ok;
}

void start_item(Impl impl, runner::Work work, std::optional<Claim> from) {
  auto place = std::make_shared<Place>(impl);
  impl->set_busy(true);
  impl->items.spawn("item", serve(impl, std::move(work), std::move(from), std::move(place)));
}

}  // namespace glovebox::orchestrator

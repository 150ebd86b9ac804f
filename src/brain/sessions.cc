#include "brain/sessions.h"

#include <boost/json.hpp>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "brain/ids.h"
#include "brain/sessions_core.h"
#include "net/task.h"
#include "wire/to_json.h"

namespace glovebox::brain {

namespace json = boost::json;

static metrics::Counter created("brain_sessions_created_total", "Sessions created.");
static metrics::Gauge running_now("brain_turns_running", "Turns under way.");

Result<Change> Sessions::Impl::begin(std::string_view session) {
  TRY(row, store.session(session));
  auto found = live.find(session);
  if (found != live.end()) return Change(std::move(row), found->second.state);
  TRY(state, state_of(store, session));
  return Change(std::move(row), std::move(state));
}

void Sessions::Impl::stop_turn(std::string_view session) {
  auto found = live.find(session);
  if (found == live.end() || !found->second.turn) return;
  found->second.turn->over = true;
  found->second.turn->stop.notify();
  found->second.turn.reset();
  running_now.set(static_cast<std::int64_t>(--turns));
}

Result<void> Sessions::Impl::finish(Change& change, std::string_view fault_point, bool is_new) {
  const std::string& session = change.row.id;
  auto committed = change.commit(store, log, queue, options.announcer, is_new);
  if (!committed) {
    // Whatever the store kept of it: what it says is true.
    auto found = live.find(session);
    if (found != live.end())
      if (auto state = state_of(store, session)) found->second.state = std::move(*state);
    return committed;
  }
  if (change.interrupted() || !change.active()) stop_turn(session);
  if (change.active() || change.state.phase == Phase::waiting) {
    live[session].state = change.state;
  } else {
    live.erase(session);
    if (change.state.phase == Phase::terminated)
      conversations.forget(session);
    else
      conversations.rest(session);
  }
  if (change.active() && !live[session].turn && !closing) {
    auto turn = std::make_shared<Turn>();
    turn->session = session;
    live[session].turn = turn;
    running_now.set(static_cast<std::int64_t>(++turns));
    tasks.spawn("turn", drive(shared_from_this(), std::move(turn)));
  }
  return fault(fault_point);
}

// --- What clients send

namespace {

// What a request may be shown again, in bytes: all that one may send. Else a hundred times "that
// result again" would make an answer of a hundred results.
constexpr std::size_t kMostAgain = 40 << 20;

// Each event of a request becomes one of the change's, or is one that was there before.
struct Accepted {
  std::size_t index = 0;
  std::optional<Event> stored = {};
  std::size_t again = 0;  // bytes of what was there before
};

Error wrong(const ClientEvent& event, std::string_view what) {
  return Error{Code::invalid, str(event.where, ": ", what)};
}

Result<std::optional<ClosedCall>> closed_call(SessionStore& store, const Change& change,
                                              const ClientEvent& event) {
  return closed_call(store, change.row.id, change.events, event.call);
}

Result<void> take_confirmation(SessionStore& store, Change& change, const ClientEvent& event) {
  const OpenCall* call = change.state.find_open(event.call);
  if (!call) {
    TRY(closed, closed_call(store, change, event));
    return wrong(event, closed ? "the call is settled already"
                               : "tool_use_id names no call of this session");
  }
  if (call->waits_for != WaitsFor::verdict)
    return wrong(event, "the call does not wait for a confirmation");
  change.add_stamped(event);
  if (event.allow)
    change.want_worker();
  else
    change.refuse_call(event.call,
                       event.deny_message.empty()
                           ? "The user did not allow this call."
                           : str("The user did not allow this call: ", event.deny_message));
  return ok;
}

Result<Accepted> again(SessionStore& store, const Change& change, std::int64_t seq) {
  if (!change.events.empty() && seq >= change.events.front().seq) {
    auto index = static_cast<std::size_t>(seq - change.events.front().seq);
    return Accepted{.index = index, .again = change.events[index].json.size()};
  }
  TRY(found, store.events(change.row.id, {.after = seq - 1, .limit = 1, .with_memo = false}));
  if (found.empty()) return Error{Code::internal, "an event of the session is gone"};
  const std::size_t bytes = found.front().json.size();
  return Accepted{.stored = std::move(found.front()), .again = bytes};
}

Result<Accepted> take_result(SessionStore& store, Change& change, const ClientEvent& event) {
  bool custom = event.kind == ClientEvent::Kind::custom_result;
  Error kind = wrong(event, custom ? "the call is not one of a custom tool: send user.tool_result"
                                   : "the call is one of a custom tool: send "
                                     "user.custom_tool_result");
  if (const OpenCall* call = change.state.find_open(event.call)) {
    if (call->custom() != custom) return kind;
    if (call->waits_for == WaitsFor::verdict)
      return wrong(event, "the call is held: it needs a user.tool_confirmation first");
    change.add_stamped(event);
    return Accepted{change.events.size() - 1};
  }
  TRY(closed, closed_call(store, change, event));
  if (!closed) return wrong(event, "names no tool call of this session");
  if (closed->answer == 0) return wrong(event, "the call was denied: it takes no result");
  if (closed->custom != custom) return kind;
  return again(store, change, closed->answer);  // a worker that did not hear that it was heard
}

Result<Accepted> take(SessionStore& store, Change& change, const ClientEvent& event,
                      bool after_result) {
  switch (event.kind) {
    case ClientEvent::Kind::message:
      change.add_waiting(event);
      if (change.state.waits_for(WaitsFor::worker)) change.want_worker();
      break;
    case ClientEvent::Kind::system:
      // After a result it belongs to the turn that goes on; else to the one its message starts.
      if (after_result)
        change.add_stamped(event);
      else
        change.add_waiting(event);
      break;
    case ClientEvent::Kind::interrupt:
      if (!event.thread.empty() && event.thread != primary_thread(change.row.id))
        return wrong(event, "session_thread_id names no thread of this session");
      change.add_stamped(event);
      {
        Accepted accepted{change.events.size() - 1};
        change.interrupt();
        return accepted;
      }
    case ClientEvent::Kind::confirmation: {
      std::size_t index = change.events.size();
      TRY_DO(take_confirmation(store, change, event));
      return Accepted{index};
    }
    case ClientEvent::Kind::result:
    case ClientEvent::Kind::custom_result: return take_result(store, change, event);
  }
  return Accepted{change.events.size() - 1};
}

bool is_result(const ClientEvent& event) {
  return event.kind == ClientEvent::Kind::result || event.kind == ClientEvent::Kind::custom_result;
}

}  // namespace

Result<std::vector<Event>> Sessions::Impl::send(std::string_view session,
                                                std::vector<ClientEvent> events) {
  TRY(change, begin(session));
  if (change.state.phase == Phase::terminated || change.row.archived_at != 0)
    return Error{Code::invalid, "the session is terminated: it takes no more events"};
  std::vector<Accepted> accepted;
  std::size_t shown_again = 0;
  for (std::size_t i = 0; i < events.size(); ++i) {
    TRY(one, take(store, change, events[i], i > 0 && is_result(events[i - 1])));
    if ((shown_again += one.again) > kMostAgain)
      return Error{Code::too_large, str(events[i].where,
                                        ": these results were sent before and are too long to be "
                                        "shown again at once: send fewer")};
    accepted.push_back(std::move(one));
  }
  if (!change.events.empty()) {
    change.settle();
    if (change.events.back().type != "session.status_idle") change.still_idle();
    requeued.erase(std::string(session));  // somebody is there
    TRY_DO(finish(change, "brain.turn_received"));
  }
  std::vector<Event> out;
  for (Accepted& one : accepted)
    out.push_back(one.stored ? std::move(*one.stored) : change.events[one.index]);
  return out;
}

// --- Items of the work queue

// Called from within the queue's own work: what it needs is done later.
void Sessions::Impl::item_stopped(const std::string& session) {
  if (closing) return;
  std::size_t tries = requeued.contains(session) ? requeued[session] : 0;
  if (tries >= options.requeue_after.size()) {
    log::warn("brain.worker_gave_up", {{"session", session}, {"items", tries}});
    return;
  }
  tasks.spawn("requeue", requeue(shared_from_this(), session, options.requeue_after[tries]));
}

Task<void> Sessions::Impl::requeue(std::shared_ptr<Impl> self, std::string session, Millis wait) {
  if (wait > 0ms) CO_TRY_DO(co_await net::sleep(wait));
  if (self->closing) co_return ok;
  auto found = self->live.find(session);
  // Only calls that a worker was to run are a reason; a session that is not live waits for nobody.
  if (found == self->live.end() || found->second.state.phase != Phase::waiting ||
      !found->second.state.waits_for(WaitsFor::worker))
    co_return ok;
  ++self->requeued[session];
  CO_TRY(row, self->store.session(session));
  co_return self->queue.ensure_item(session, row.environment_id);
}

// --- The class

Sessions::Sessions(net::Loop& loop, SessionStore& store, EventLog& log, WorkQueue& queue,
                   Model& model, SessionsOptions options)
    : impl_(std::make_shared<Impl>(loop, store, log, queue, model, std::move(options))) {
  queue.on_stopped = [weak = std::weak_ptr(impl_)](std::string session) {
    if (auto impl = weak.lock()) impl->item_stopped(session);
  };
}

Sessions::~Sessions() {
  impl_->queue.on_stopped = nullptr;
  impl_->closing = true;
  impl_->tasks.cancel();
}

std::size_t Sessions::running() const { return impl_->turns; }

Result<void> Sessions::recover() {
  TRY(unfinished, impl_->store.unfinished_sessions());
  for (const std::string& session : unfinished) {
    TRY(change, impl_->begin(session));
    if (change.active() || change.state.waits_for(WaitsFor::worker)) change.want_worker();
    change.settle();
    TRY_DO(impl_->finish(change, "brain.turn_recovered"), "recover ", session);
  }
  if (!unfinished.empty()) log::info("brain.recovered", {{"sessions", unfinished.size()}});
  return ok;
}

Task<void> Sessions::close(Millis limit) {
  auto impl = impl_;
  impl->closing = true;
  co_return co_await impl->tasks.finish(limit);
}

Result<std::vector<Event>> Sessions::send(std::string_view session, const json::array& events) {
  TRY(checked, check_client_events(events, ClientEvents::sent));
  return impl_->send(session, std::move(checked));
}

Result<SessionRow> Sessions::create(SessionRow row, const json::array& initial_events) {
  TRY(checked, check_client_events(initial_events, ClientEvents::initial));
  row.id = new_id("sesn");
  row.status = SessionStatus::idle;
  row.created_at = now_us();
  Change change(std::move(row), SessionState());
  change.tell("session.created");
  for (const ClientEvent& event : checked) change.add_waiting(event);
  change.settle();
  TRY_DO(impl_->finish(change, "brain.session_created", true));
  created.add();
  return change.row;
}

namespace {

Error refuse_running(std::string_view what) {
  return Error{Code::invalid, str("the session is running: it cannot be ", what,
                                  " now; send user.interrupt first")};
}

}  // namespace

Result<void> Sessions::update(const SessionRow& row, const json::object& changed) {
  TRY(change, impl_->begin(row.id));
  if (change.row.archived_at != 0) return Error{Code::invalid, "the session is archived"};
  if (changed.contains("agent") && change.active()) return refuse_running("given another agent");
  // Of what the caller read before, only what an update may touch.
  change.row.title = row.title;
  change.row.metadata = row.metadata;
  change.row.agent = row.agent;
  change.row.agent_version = row.agent_version;
  if (!changed.empty()) {
    std::string members = wire::to_json(changed);
    change.add("session.updated", std::string_view(members).substr(1, members.size() - 2));
    change.still_idle();
    change.tell("session.updated");
  }
  return impl_->finish(change, "brain.session_updated");
}

Result<SessionRow> Sessions::archive(std::string_view session) {
  TRY(change, impl_->begin(session));
  if (change.row.archived_at != 0) return change.row;
  if (change.active()) return refuse_running("archived");
  change.row.archived_at = now_us();
  change.terminate();
  change.tell("session.archived");
  TRY_DO(impl_->finish(change, "brain.session_archived"));
  return change.row;
}

Result<void> Sessions::remove(std::string_view session) {
  TRY(change, impl_->begin(session));
  if (change.active()) return refuse_running("deleted");
  auto work = [&]() -> Result<void> {
    TRY_DO(impl_->queue.stop_items(session));
    TRY_DO(impl_->store.remove_session(session));
    auto* announcer = impl_->options.announcer;
    return announcer ? announcer->announce("session.deleted", session) : ok;
  };
  TRY_DO(impl_->store.atomically(work));
  impl_->live.erase(std::string(session));
  impl_->conversations.forget(std::string(session));
  impl_->requeued.erase(std::string(session));
  impl_->log.deleted(session);
  return ok;
}

Result<void> Sessions::report(std::string_view session, std::string_view message) {
  TRY(change, impl_->begin(session));
  if (change.state.phase == Phase::terminated || change.row.archived_at != 0)
    return Error{Code::invalid, "the session is terminated: it takes no more events"};
  change.error("unknown_error", message, "terminal");
  change.still_idle();
  return impl_->finish(change, "brain.reported");
}

}  // namespace glovebox::brain

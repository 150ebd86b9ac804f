#include "brain/session_state.h"

#include <algorithm>
#include <boost/json.hpp>
#include <limits>
#include <ranges>

#include "brain/json_read.h"

namespace glovebox::brain {

namespace json = boost::json;

std::string_view name(Phase phase) {
  switch (phase) {
    case Phase::idle: return "idle";
    case Phase::running: return "running";
    case Phase::waiting: return "waiting";
    case Phase::rescheduling: return "rescheduling";
    case Phase::terminated: return "terminated";
  }
  return "";
}

namespace {

// Whether a turn ends with it: no call is open then.
bool is_rest(std::string_view stop_reason) { return stop_reason != "requires_action"; }

// The call that an event is a client's result of; "" where it is none.
std::string answered_call(const Event& event) {
  if (event.type == "user.tool_result") return text_of(parse_object(event.json), "tool_use_id");
  if (event.type == "user.custom_tool_result")
    return text_of(parse_object(event.json), "custom_tool_use_id");
  return "";
}

std::string stop_type(const json::object& event) {
  const json::object* reason = object_of(event, "stop_reason");
  return reason ? text_of(*reason, "type") : "";
}

}  // namespace

const OpenCall* SessionState::find_open(std::string_view id) const {
  auto found = std::ranges::find(open, id, &OpenCall::id);
  return found == open.end() ? nullptr : &*found;
}

bool SessionState::waits_for(WaitsFor whom) const {
  return std::ranges::find(open, whom, &OpenCall::waits_for) != open.end();
}

bool SessionState::has_next_turn() const {
  return std::ranges::any_of(queued, &QueuedMessage::starts_turn);
}

void SessionState::close(std::string_view id) {
  std::erase_if(open, [id](const OpenCall& call) { return call.id == id; });
}

void SessionState::apply(const Event& event) {
  last_seq = std::max(last_seq, event.seq);
  std::string_view type = event.type;
  if (type == "user.message" || type == "system.message") {
    if (event.processed_at == 0) queued.push_back({event.id, event.seq, type == "user.message"});
  } else if (type == "session.status_running") {
    phase = Phase::running;
    running_since = event.processed_at;
    if (!event.memo.empty()) answers_alone = 0;  // it takes up messages
  } else if (type == "session.status_rescheduled") {
    phase = Phase::rescheduling;
  } else if (type == "session.status_terminated") {
    phase = Phase::terminated;
  } else if (type == "session.status_idle") {
    stop_reason = stop_type(parse_object(event.json));
    phase = is_rest(stop_reason) ? Phase::idle : Phase::waiting;
    thought = false;
    running_since = 0;
    if (phase == Phase::idle) answers_alone = 0;  // the turn is over
  } else if (type == "span.model_request_start") {
    request = event.id;
  } else if (type == "span.model_request_end") {
    request.clear();
    if (event.memo.empty()) return;  // it failed: the next one is about the same question
    thought = false;
    ++answers_alone;
  } else if (type == "agent.thinking") {
    thought = true;
  } else if (type == "agent.tool_use") {
    json::object call = parse_object(event.json);
    std::string permission = text_of(call, "evaluated_permission");
    if (permission == "deny") return;  // closed already
    bool free = permission.empty() || permission == "allow";
    open.push_back({event.id, text_of(call, "name"), free ? WaitsFor::worker : WaitsFor::verdict});
  } else if (type == "agent.custom_tool_use") {
    open.push_back({event.id, text_of(parse_object(event.json), "name"), WaitsFor::client});
  } else if (type == "user.tool_confirmation") {
    answers_alone = 0;
    json::object verdict = parse_object(event.json);
    std::string id = text_of(verdict, "tool_use_id");
    if (text_of(verdict, "result") != "allow") return close(id);
    for (OpenCall& call : open)
      if (call.id == id && call.waits_for == WaitsFor::verdict) call.waits_for = WaitsFor::worker;
  } else if (type == "user.tool_result" || type == "user.custom_tool_result") {
    answers_alone = 0;
    close(answered_call(event));
  }
}

namespace {

// The place where the session last came to rest, all its calls closed; 0: nowhere yet.
Result<std::int64_t> last_rest(SessionStore& store, std::string_view session) {
  EventQuery query{
      .descending = true, .types = {"session.status_idle"}, .limit = 1, .with_memo = false};
  for (;;) {
    TRY(found, store.events(session, query));
    if (found.empty()) return 0;
    query.after = found.front().seq;
    if (is_rest(stop_type(parse_object(found.front().json)))) return query.after;
  }
}

// What `query` finds before `end`.
Result<void> apply_all(SessionState& state, SessionStore& store, std::string_view session,
                       EventQuery query, std::int64_t end) {
  query.max_bytes = 4 << 20;
  for (;;) {
    TRY(page, store.events(session, query), "events of ", session);
    for (const Event& event : page) {
      if (event.seq >= end) return ok;
      state.apply(event);
    }
    if (page.empty()) return ok;
    query.after = page.back().seq;
  }
}

}  // namespace

Result<SessionState> state_of(SessionStore& store, std::string_view session) {
  TRY(rest, last_rest(store, session));
  SessionState state;
  TRY_DO(apply_all(state, store, session, {.waiting = true}, rest));
  constexpr auto kEnd = std::numeric_limits<std::int64_t>::max();
  TRY_DO(apply_all(state, store, session, {.after = std::max<std::int64_t>(rest - 1, 0)}, kEnd));
  return state;
}

Result<std::optional<ClosedCall>> closed_call(SessionStore& store, std::string_view session,
                                              std::span<const Event> fresh, std::string_view call) {
  std::optional<ClosedCall> closed;
  if (call.empty()) return closed;
  auto look_at = [&](const Event& event) {
    if (event.id == call)
      closed = ClosedCall{.custom = event.type == "agent.custom_tool_use"};
    else if (closed && closed->answer == 0)
      closed->answer = event.seq;
  };
  // Anybody may ask, as often as they like, and for anything: nothing of the events' text is read.
  TRY(stored,
      store.events(session,
                   {.call = std::string(call), .limit = 2, .with_memo = false, .with_json = false}),
      "events of ", session);
  for (const Event& event : stored) look_at(event);
  for (const Event& event : fresh)
    if (event.call == call) look_at(event);
  return closed;
}

}  // namespace glovebox::brain

#include "brain/session_state.h"

#include <algorithm>
#include <boost/json.hpp>

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

void SessionState::message_applied(std::string_view id) {
  std::erase_if(queued, [id](const QueuedMessage& message) { return message.id == id; });
}

void SessionState::close(std::string_view id, std::int64_t answer) {
  auto call = std::ranges::find(open, id, &OpenCall::id);
  if (call == open.end()) return;
  closed.emplace(call->id, ClosedCall{call->custom(), answer});
  open.erase(call);
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
    phase = stop_reason == "requires_action" ? Phase::waiting : Phase::idle;
    thought = false;
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
    if (permission == "deny") {
      closed.emplace(event.id, ClosedCall{});
      return;
    }
    bool free = permission.empty() || permission == "allow";
    open.push_back({event.id, text_of(call, "name"), free ? WaitsFor::worker : WaitsFor::verdict});
  } else if (type == "agent.custom_tool_use") {
    open.push_back({event.id, text_of(parse_object(event.json), "name"), WaitsFor::client});
  } else if (type == "user.tool_confirmation") {
    answers_alone = 0;
    json::object verdict = parse_object(event.json);
    std::string id = text_of(verdict, "tool_use_id");
    if (text_of(verdict, "result") != "allow") return close(id, 0);
    for (OpenCall& call : open)
      if (call.id == id && call.waits_for == WaitsFor::verdict) call.waits_for = WaitsFor::worker;
  } else if (type == "user.tool_result") {
    answers_alone = 0;
    close(text_of(parse_object(event.json), "tool_use_id"), event.seq);
  } else if (type == "user.custom_tool_result") {
    answers_alone = 0;
    close(text_of(parse_object(event.json), "custom_tool_use_id"), event.seq);
  }
}

}  // namespace glovebox::brain

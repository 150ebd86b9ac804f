#include "runner/event.h"

#include <algorithm>
#include <boost/json.hpp>

#include "runner/json.h"

namespace glovebox::runner {

namespace json = boost::json;

namespace {

using Kind = Event::Kind;

constexpr std::pair<std::string_view, Kind> kKinds[] = {
    {"agent.tool_use", Kind::tool_use},
    {"agent.custom_tool_use", Kind::tool_use},
    {"agent.tool_result", Kind::result},
    {"user.tool_result", Kind::result},
    {"user.custom_tool_result", Kind::result},
    {"user.tool_confirmation", Kind::confirmation},
    {"user.interrupt", Kind::interrupt},
    {"session.status_idle", Kind::idle},
    {"session.status_terminated", Kind::session_terminated},
    {"session.deleted", Kind::session_deleted},
    {"session.thread_status_running", Kind::thread_status},
    {"session.thread_status_idle", Kind::thread_status},
    {"session.thread_status_rescheduled", Kind::thread_status},
    {"session.thread_status_terminated", Kind::thread_terminated},
};

Kind kind_of(std::string_view type) {
  for (auto [name, kind] : kKinds)
    if (name == type) return kind;
  return Kind::other;
}

Event event_of(const json::value& value) {
  Event event{.id = text(value, "id"), .type = text(value, "type")};
  event.kind = kind_of(event.type);
  switch (event.kind) {
    case Kind::tool_use: {
      event.name = text(value, "name");
      event.custom = event.type == "agent.custom_tool_use";
      const json::value* input = member(value, "input");
      event.input = input ? write_json(*input) : "{}";
      // Something that is there and no text is a permission we do not know, and holds the call.
      if (const json::value* permission = member(value, "evaluated_permission");
          permission && !permission->is_null())
        event.permission = text(value, "evaluated_permission");
      break;
    }
    case Kind::result:
      event.call = text(
          value, event.type == "user.custom_tool_result" ? "custom_tool_use_id" : "tool_use_id");
      break;
    case Kind::confirmation:
      event.call = text(value, "tool_use_id");
      event.verdict = text(value, "result");
      break;
    case Kind::idle: {
      const json::value* reason = member(value, "stop_reason");
      // Reasons of the future end a turn, too.
      event.ends_turn = !reason || text(*reason, "type") != "requires_action";
      break;
    }
    case Kind::interrupt:
    case Kind::thread_status:
    case Kind::thread_terminated:
    case Kind::session_terminated:
    case Kind::session_deleted:
    case Kind::other: break;
  }
  event.thread = text(value, "session_thread_id");
  return event;
}

}  // namespace

Result<Event> decode_event(std::string_view body) {
  TRY(value, parse_json(body), "an event");
  if (!value.is_object()) return Error{Code::invalid, "an event is not a JSON object"};
  return event_of(value);
}

Result<EventPage> decode_events(std::string_view body) {
  // A page is large and soon gone: in memory of its own it leaves no holes in the heap, of which a
  // process with thousands of sessions would have many.
  json::monotonic_resource memory(std::max<std::size_t>(body.size(), 1024));
  TRY(value, parse_json(body, &memory), "a list of events");
  const json::value* data = member(value, "data");
  if (!data || !data->is_array()) return Error{Code::invalid, "a list of events has no `data`"};
  EventPage page{.next = text(value, "next_page")};
  page.events.reserve(data->get_array().size());
  for (const json::value& one : data->get_array()) page.events.push_back(event_of(one));
  return page;
}

}  // namespace glovebox::runner

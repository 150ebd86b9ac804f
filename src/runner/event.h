// A session's event, taken apart as far as a runner looks.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::runner {

struct Event {
  enum class Kind {
    other,
    tool_use,            // agent.tool_use, agent.custom_tool_use
    result,              // of a call, by whomever: user.*_tool_result, agent.tool_result
    confirmation,        // user.tool_confirmation
    interrupt,           // user.interrupt
    idle,                // session.status_idle
    thread_status,       // session.thread_status_running, _idle, _rescheduled
    thread_terminated,   // session.thread_status_terminated
    session_terminated,  // session.status_terminated
    session_deleted,
  };
  Kind kind = Kind::other;
  std::string id, type;
  std::string thread;      // session_thread_id; "" is the primary one, or none
  std::string call;        // of a result and of a confirmation: the call it is about
  std::string verdict;     // of a confirmation: "allow", "deny"
  bool ends_turn = false;  // of an idle one
  // Of a tool use.
  std::string name;
  std::string input;  // JSON; whatever the model made of it
  bool custom = false;
  std::optional<std::string> permission;
};
Result<Event> decode_event(std::string_view json);

struct EventPage {
  std::vector<Event> events;
  std::string next;  // the cursor; "" at the end
};
Result<EventPage> decode_events(std::string_view json);

}  // namespace glovebox::runner

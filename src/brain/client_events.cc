#include "brain/client_events.h"

#include <algorithm>
#include <boost/json.hpp>

#include "brain/content.h"
#include "brain/ids.h"
#include "wire/decode.h"
#include "wire/to_json.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMostEvents = 100, kMostInitialEvents = 50;
constexpr std::size_t kIdLimit = 128;
constexpr std::size_t kDenyMessageLimit = 16 * 1024;

Result<std::string> needed_id(Members& event, std::string_view key) {
  TRY(id, event.text(key, kIdLimit));
  if (!id || id->empty()) return event.wrong(key, "must name a tool call");
  return *id;
}

Result<void> message(Members& event, ClientEvent& out, json::object& stored) {
  out.kind = ClientEvent::Kind::message;
  TRY(content, check_content(event.take("content"), out.where + ".content", Content::message));
  stored["content"] = std::move(content);
  return ok;
}

Result<void> system_message(Members& event, ClientEvent& out, json::object& stored) {
  out.kind = ClientEvent::Kind::system;
  TRY(content, check_content(event.take("content"), out.where + ".content", Content::system));
  stored["content"] = std::move(content);
  return ok;
}

Result<void> interrupt(Members& event, ClientEvent& out, json::object& stored) {
  out.kind = ClientEvent::Kind::interrupt;
  TRY(thread, event.text("session_thread_id", kIdLimit));
  if (!thread) return ok;
  out.thread = *thread;
  stored["session_thread_id"] = out.thread;
  return ok;
}

Result<void> confirmation(Members& event, ClientEvent& out, json::object& stored) {
  out.kind = ClientEvent::Kind::confirmation;
  TRY(call, needed_id(event, "tool_use_id"));
  TRY(result, event.text("result", 16));
  if (result != "allow" && result != "deny")
    return event.wrong("result", R"(must be "allow" or "deny")");
  TRY(reason, event.text("deny_message", kDenyMessageLimit));
  out.call = call;
  out.allow = result == "allow";
  if (reason && out.allow) return event.wrong("deny_message", "goes with \"deny\" only");
  stored["tool_use_id"] = call;
  stored["result"] = *result;
  if (reason) stored["deny_message"] = out.deny_message = *reason;
  return ok;
}

Result<void> result(Members& event, ClientEvent& out, json::object& stored) {
  out.kind =
      out.type == "user.tool_result" ? ClientEvent::Kind::result : ClientEvent::Kind::custom_result;
  std::string_view key =
      out.kind == ClientEvent::Kind::result ? "tool_use_id" : "custom_tool_use_id";
  TRY(call, needed_id(event, key));
  TRY(failed, event.flag("is_error"));
  TRY(content, check_content(event.take("content"), out.where + ".content", Content::result));
  out.call = call;
  stored[key] = call;
  stored["content"] = std::move(content);
  stored["is_error"] = failed.value_or(false);
  return ok;
}

struct Shape {
  std::string_view type;
  Result<void> (*check)(Members&, ClientEvent&, json::object&);
};
constexpr Shape kShapes[] = {
    {"user.message", message},
    {"user.interrupt", interrupt},
    {"user.tool_confirmation", confirmation},
    {"user.tool_result", result},
    {"user.custom_tool_result", result},
    {"system.message", system_message},
};

Result<ClientEvent> check_one(const json::value& value, std::string where, ClientEvents what) {
  TRY(event, Members::of(value, where));
  TRY(type, event.text("type", 64));
  if (!type) return event.wrong("type", "must be the type of an event");
  if (*type == "user.define_outcome")
    return event.wrong("type", "user.define_outcome: outcomes are not available on this server");
  auto shape = std::ranges::find(kShapes, *type, &Shape::type);
  if (shape == std::end(kShapes))
    return event.wrong("type", str(json_escape(*type), " is not an event that can be sent"));
  if (what == ClientEvents::initial && *type != "user.message")
    return event.wrong("type", str(*type, " cannot be among the first events of a session"));
  ClientEvent out;
  out.type = *type;
  out.id = new_id("sevt");
  out.where = std::move(where);
  json::object stored{{"type", out.type}, {"id", out.id}};
  TRY_DO(shape->check(event, out, stored));
  event.done();
  out.json = wire::to_json(stored);
  return out;
}

bool is_result(const ClientEvent& event) {
  return event.kind == ClientEvent::Kind::result || event.kind == ClientEvent::Kind::custom_result;
}

// At most one, the last, and with something to go along with.
Result<void> check_system_place(const std::vector<ClientEvent>& events) {
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (events[i].kind != ClientEvent::Kind::system) continue;
    bool follows =
        i > 0 && (events[i - 1].kind == ClientEvent::Kind::message || is_result(events[i - 1]));
    if (i + 1 != events.size() || !follows)
      return Error{Code::invalid,
                   str(events[i].where,
                       ": a system.message is the last event of its request and follows a "
                       "message or a result")};
  }
  return ok;
}

}  // namespace

Result<std::vector<ClientEvent>> check_client_events(const json::array& events, ClientEvents what) {
  std::string_view list = what == ClientEvents::sent ? "events" : "initial_events";
  std::size_t most = what == ClientEvents::sent ? kMostEvents : kMostInitialEvents;
  if (events.size() > most) return Error{Code::invalid, str(list, ": at most ", most, " at once")};
  if (events.empty() && what == ClientEvents::sent)
    return Error{Code::invalid, "events: must have at least one"};
  std::vector<ClientEvent> checked;
  for (const json::value& event : events) {
    TRY(one, check_one(event, str(list, "[", checked.size(), "]"), what));
    checked.push_back(std::move(one));
  }
  TRY_DO(check_system_place(checked));
  return checked;
}

}  // namespace glovebox::brain

#include "cli/session_drive.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <map>
#include <set>

#include "cli/blocked_signals.h"
#include "cli/json_text.h"
#include "cli/wait.h"
#include "net/deadline.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

constexpr Millis kFirstBackoff = 250ms, kLongestBackoff = 8s;
constexpr Millis kPatience = 300s;  // for a brain that has gone away

struct Driver {
  BrainClient& brain;
  DriveSpec spec;
  Output& out;

  std::set<std::string> seen;
  std::map<std::string, json::object> calls;  // tool calls that somebody may be asked about
  std::set<std::string> told;                 // those a person has been asked about, or told of
  // The message whose turn this is. What came before it is of no interest here, also not an end.
  std::string anchor;
  bool anchor_seen = false, in_line = false;
  bool resuming = false;  // the next "running" only goes on after a tool call
  bool failed = false;
  std::optional<int> code;
  // Since when a tool call waits for a worker.
  std::optional<std::chrono::steady_clock::time_point> waiting_since;

  std::string path(std::string_view rest) const {
    return str("/v1/sessions/", http::encode_path(spec.session), rest);
  }
};

void show(Driver* self, const json::object& event) {
  if (self->spec.json) return self->out.text(json::serialize(event) + "\n");
  EventText shown = describe(event, self->spec.style);
  if (shown.text.empty()) return;
  if (!shown.is_error) return self->out.text(shown.text);
  shown.text.pop_back();  // note() ends the line
  self->out.note(shown.text);
}

Result<json::object> parse_event(const std::string& text) {
  boost::system::error_code wrong;
  json::value event = json::parse(text, wrong);
  if (wrong || !event.is_object()) return Error{Code::internal, "an event that is no JSON object"};
  return std::move(event.as_object());
}

// A line typed by the person; what was typed before we asked is no answer.
Task<std::string> typed_line(std::string question) {
  ::tcflush(STDIN_FILENO, TCIFLUSH);
  CO_TRY_DO(write_fd(STDERR_FILENO, question));
  std::string line;
  for (;;) {
    CO_TRY_DO(co_await net::readable(STDIN_FILENO, net::kForever));
    char piece[256];
    ssize_t n = ::read(STDIN_FILENO, piece, sizeof piece);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) co_return Error{Code::gone, "nobody answers"};
    line.append(piece, static_cast<std::size_t>(n));
    if (line.ends_with('\n')) co_return std::string(trim(line));
  }
}

std::string shell_word(std::string_view text) {
  bool plain = text.find_first_not_of(
                   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == text.npos;
  return plain ? std::string(text) : str("'", text, "'");
}

// How to answer from elsewhere.
std::string how_to_answer(const Driver& self, const std::string& id, const json::object& call) {
  std::string session = shell_word(self.spec.session);
  if (text_of(call, "type") == "agent.custom_tool_use")
    return str("glovebox: ", printable(text_of(call, "name")),
               " is a tool of the application, which answers with: glovebox sessions send ",
               session, " --event='{\"type\":\"user.custom_tool_result\",\"custom_tool_use_id\":\"",
               printable(id), "\",\"content\":[{\"type\":\"text\",\"text\":\"…\"}]}'");
  return str("glovebox: ", printable(text_of(call, "name")),
             " waits to be allowed: glovebox sessions confirm ", session, " ", printable(id),
             " allow|deny");
}

Task<void> confirm(Driver* self, std::string id, bool allow) {
  auto sent =
      co_await self->brain.call("POST", self->path("/events"), confirmation_events(id, allow, ""));
  // Somebody else may have been quicker.
  if (!sent) self->out.note(str("glovebox: ", sent.error().what));
  co_return ok;
}

Task<void> ask(Driver* self, std::string id, json::object call) {
  if (self->spec.can_ask && text_of(call, "type") != "agent.custom_tool_use") {
    std::string question = str("allow ", printable(text_of(call, "name")), "  ",
                               printable(cut(call_summary(call), 1000)), " ? [y/N] ");
    auto answer = co_await typed_line(std::move(question));
    if (answer) {
      std::string word = lower(*answer);
      co_return co_await confirm(self, std::move(id), word == "y" || word == "yes");
    }
    if (answer.error().code != Code::gone) co_return std::move(answer.error());
    (void)write_fd(STDERR_FILENO, "\n");
    self->spec.can_ask = false;
  }
  self->out.note(how_to_answer(*self, id, call));
  co_return ok;
}

// An idle session that needs something: tool calls are a worker's business, unless they wait for a
// verdict or are the application's own.
Task<void> wait_for_people(Driver* self, json::object idle) {
  boost::system::error_code wrong;
  json::value event(std::move(idle));
  const json::value* ids = event.find_pointer("/stop_reason/event_ids", wrong);
  if (!ids || !ids->is_array()) co_return ok;
  std::vector<std::string> asking;
  for (const json::value& id : ids->as_array())
    if (id.is_string() && self->calls.contains(std::string(id.as_string())) &&
        self->told.insert(std::string(id.as_string())).second)
      asking.emplace_back(id.as_string());
  if (asking.empty()) {
    self->waiting_since = std::chrono::steady_clock::now();
    co_return ok;
  }
  if (!self->spec.json)
    self->out.text(self->spec.style.dim("· requires_action (it waits for your answer)") + "\n");
  for (std::string& id : asking) {
    json::object call = self->calls[id];
    CO_TRY_DO(co_await ask(self, std::move(id), std::move(call)));
  }
  co_return ok;
}

// A message that had to wait in line is only answered by a turn that began after it was taken: the
// end of the turn before is not the end.
Task<bool> was_taken(Driver* self, std::string idle_at) {
  CO_TRY(text, co_await self->brain.call(
                   "GET", self->path("/events?order=desc&limit=1000&types%5B%5D=user.message")));
  CO_TRY(page, parse_event(text));
  const json::value* data = page.if_contains("data");
  if (data && data->is_array())
    for (const json::value& message : data->as_array())
      if (text_at(message, "/id") == self->anchor) {
        std::string at = text_at(message, "/processed_at");
        co_return !at.empty() && at <= idle_at;
      }
  co_return true;
}

Task<void> take(Driver* self, json::object event) {
  std::string id = text_of(event, "id"), type = text_of(event, "type");
  if (!id.empty() && !self->seen.insert(id).second) co_return ok;
  if (!id.empty() && id == self->anchor) self->anchor_seen = true;
  self->waiting_since.reset();
  bool known = id == self->anchor && self->spec.prompt;  // the prompt stands above already
  bool quiet = type == "session.status_running" && std::exchange(self->resuming, false);
  if (self->spec.json || !(known || quiet)) show(self, event);
  CO_TRY_DO(self->out.written(), "standard output");

  if (type == "agent.custom_tool_use" || text_of(event, "evaluated_permission") == "ask")
    self->calls[id] = event;
  if (type == "user.tool_confirmation") self->told.insert(text_of(event, "tool_use_id"));
  if (type == "session.status_running") self->failed = false;
  if (type == "session.error" &&
      text_at(json::value(event), "/error/retry_status/type") != "retrying")
    self->failed = true;
  if (type == "session.status_terminated" || type == "session.deleted") self->code = 1;
  if (type != "session.status_idle") co_return ok;
  self->resuming = !ends_turn(event);
  if (self->resuming) co_return co_await wait_for_people(self, std::move(event));
  if (!self->anchor_seen) co_return ok;
  if (self->in_line) {
    CO_TRY(taken, co_await was_taken(self, text_of(event, "processed_at")));
    if (!taken) co_return ok;
  }
  bool well = text_at(json::value(event), "/stop_reason/type") == "end_turn" && !self->failed;
  self->code = well ? 0 : 1;
  co_return ok;
}

// The history from the anchor on, oldest first; without an anchor from the last message on, which
// becomes it.
Task<std::vector<json::object>> history(Driver* self) {
  std::vector<json::object> found;
  std::string page;
  for (;;) {
    CO_TRY(text, co_await self->brain.call(
                     "GET", self->path("/events?order=desc&limit=1000") +
                                (page.empty() ? "" : "&page=" + http::encode_query(page))));
    CO_TRY(answer, parse_event(text));
    json::value* data = answer.if_contains("data");
    if (!data || !data->is_array()) co_return Error{Code::internal, "a history without 'data'"};
    for (json::value& item : data->as_array()) {
      if (!item.is_object()) continue;
      found.push_back(std::move(item.as_object()));
      std::string id = text_of(found.back(), "id");
      if (self->anchor.empty() && text_of(found.back(), "type") == "user.message")
        self->anchor = id;
      if (!id.empty() && id == self->anchor) {
        std::ranges::reverse(found);
        co_return found;
      }
    }
    std::string next = text_of(answer, "next_page");
    if (next.empty() || next == page) break;
    page = std::move(next);
  }
  std::ranges::reverse(found);
  co_return found;
}

Task<void> take_history(Driver* self) {
  CO_TRY(events, co_await history(self));
  for (json::object& event : events) {
    CO_TRY_DO(co_await take(self, std::move(event)));
    if (self->code) co_return ok;
  }
  co_return ok;
}

bool is_final(const Error& error) {
  switch (error.code) {
    case Code::invalid:
    case Code::unauthenticated:
    case Code::forbidden:
    case Code::not_found:
    case Code::cancelled: return true;
    default: return false;
  }
}

struct Message {
  std::string id, text, processed_at;
};

// The last one somebody said in this session; nothing in it: nobody has yet.
Task<Message> last_message(Driver* self) {
  CO_TRY(body, co_await self->brain.call(
                   "GET", self->path("/events?order=desc&limit=1&types%5B%5D=user.message")));
  CO_TRY(answer, parse_event(body));
  json::value value(std::move(answer));
  boost::system::error_code wrong;
  const json::value* content = value.find_pointer("/data/0/content", wrong);
  co_return Message{text_at(value, "/data/0/id"), content_text(content),
                    text_at(value, "/data/0/processed_at")};
}

Task<Message> post_message(Driver* self) {
  CO_TRY(body, co_await self->brain.call("POST", self->path("/events"),
                                         message_events(*self->spec.prompt)));
  CO_TRY(answer, parse_event(body));
  json::value value(std::move(answer));
  co_return Message{text_at(value, "/data/0/id"), "", text_at(value, "/data/0/processed_at")};
}

// Said once, also when the answer is lost: whether it arrived is then to be seen in the history.
Task<Message> say(Driver* self) {
  Message before;
  if (!self->spec.fresh) {
    CO_TRY(last, co_await last_message(self));
    before = std::move(last);
  }
  net::Deadline deadline(kPatience);
  for (;;) {
    auto sent = co_await post_message(self);
    // Only a lost answer leaves the question open; what was refused was refused.
    if (sent || (sent.error().code != Code::unavailable && sent.error().code != Code::timeout))
      co_return sent;
    for (Millis pause = kFirstBackoff;; pause = std::min(pause * 2, kLongestBackoff)) {
      if (deadline.left() == 0ms) co_return sent;
      CO_TRY_DO(co_await net::sleep(pause));
      auto last = co_await last_message(self);
      if (!last && is_final(last.error())) co_return last;
      if (!last) continue;
      if (last->id != before.id && last->text == *self->spec.prompt) co_return last;
      break;  // it did not arrive
    }
  }
}

Task<void> begin(Driver* self) {
  if (!self->spec.prompt) {
    CO_TRY_DO(co_await take_history(self));
    if (self->anchor.empty())
      co_return Error{Code::conflict, "nothing was asked in this session yet: give a PROMPT"};
    co_return ok;
  }
  CO_TRY(message, co_await say(self));
  self->anchor = message.id;
  self->in_line = message.processed_at.empty();
  if (self->anchor.empty()) co_return Error{Code::internal, "the message got no id"};
  co_return ok;
}

using Events = std::unique_ptr<BrainClient::Events>;

Task<Events> reconnect(Driver* self, Error why) {
  net::Deadline deadline(kPatience);
  Millis pause = kFirstBackoff;
  bool said = why.code == Code::gone;  // a clean end is no accident
  for (;;) {
    if (is_final(why)) co_return why;
    if (deadline.left() == 0ms)
      co_return std::move(why).with("the brain does not come back; the session goes on there");
    if (!said)
      self->out.note(str("glovebox: the connection was lost (", why.what, "); trying again …"));
    said = true;
    CO_TRY_DO(co_await net::sleep(pause));
    pause = std::min(pause * 2, kLongestBackoff);
    auto stream = co_await self->brain.events(self->path("/events/stream"));
    if (!stream) {
      why = std::move(stream.error());
      continue;
    }
    auto read = co_await take_history(self);
    if (read) co_return std::move(*stream);
    why = std::move(read.error());
  }
}

Task<void> follow(Driver* self) {
  CO_TRY(stream, co_await self->brain.events(self->path("/events/stream")));
  CO_TRY_DO(co_await begin(self));
  while (!self->code) {
    auto text = co_await stream->next();
    if (!text) {
      CO_TRY(again, co_await reconnect(self, std::move(text.error())));
      stream = std::move(again);
      continue;
    }
    auto event = parse_event(*text);
    if (!event) continue;  // nobody can tell what it was; the history of the next connection has it
    CO_TRY_DO(co_await take(self, std::move(*event)));
  }
  co_return ok;
}

Task<void> leave_on_signal(Driver* self) {
  CO_TRY(number, co_await net::next_signal({SIGINT, SIGTERM, SIGHUP}));
  self->code = 128 + number;
  co_return ok;
}

// A session whose calls nobody takes looks like one that hangs: says so, once.
Task<void> watch_workers(Driver* self) {
  for (;;) {
    CO_TRY_DO(co_await net::sleep(self->spec.patience / 2));
    auto since = self->waiting_since;
    if (!since || std::chrono::steady_clock::now() - *since < self->spec.patience) continue;
    auto stats = co_await self->brain.call(
        "GET", str("/v1/environments/", http::encode_path(self->spec.environment), "/work/stats"));
    boost::system::error_code wrong;
    json::value queue = stats ? json::parse(*stats, wrong) : json::value();
    if (!stats || wrong || self->waiting_since != since) continue;  // it goes on, or who knows
    std::string polling = text_at(queue, "/workers_polling");
    if (text_at(queue, "/depth") == "0" || (polling != "0" && !polling.empty())) continue;
    self->out.note(str("glovebox: nobody takes the tool calls of environment ",
                       printable(self->spec.environment),
                       ": its worker does not run ('glovebox up' starts one, 'glovebox work "
                       "stats' shows the queue)"));
    co_return co_await net::sleep(net::kForever);
  }
}

Task<void> follow_or_leave(Driver* self) {
  auto followed = net::first_of(follow(self), leave_on_signal(self));
  if (self->spec.environment.empty()) co_return co_await std::move(followed);
  co_return co_await net::first_of(std::move(followed), watch_workers(self));
}

}  // namespace

std::string message_events(std::string_view text) {
  json::array content{{{"type", "text"}, {"text", text}}};
  json::object event{{"type", "user.message"}};
  event["content"] = std::move(content);
  return json::serialize(json::object{{"events", json::array{std::move(event)}}});
}

std::string confirmation_events(std::string_view tool_use_id, bool allow,
                                std::string_view message) {
  json::object event{{"type", "user.tool_confirmation"},
                     {"tool_use_id", tool_use_id},
                     {"result", allow ? "allow" : "deny"}};
  if (!allow && !message.empty()) event["deny_message"] = message;
  return json::serialize(json::object{{"events", json::array{std::move(event)}}});
}

Result<int> drive(BrainClient& brain, DriveSpec spec, Output& out) {
  BlockedSignals blocked({SIGINT, SIGTERM, SIGHUP});
  Driver driver{.brain = brain, .spec = std::move(spec), .out = out};
  TRY_DO(net::run(brain.loop(), follow_or_leave(&driver)));
  return driver.code.value_or(1);
}

}  // namespace glovebox::cli

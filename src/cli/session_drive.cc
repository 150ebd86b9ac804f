#include "cli/session_drive.h"

#include <signal.h>

#include <algorithm>
#include <boost/json.hpp>

#include "cli/blocked_signals.h"
#include "cli/json_text.h"
#include "cli/session_drive_impl.h"
#include "cli/wait.h"
#include "net/deadline.h"
#include "wire/to_json.h"

namespace glovebox::cli {

namespace json = boost::json;

std::string Driver::path(std::string_view rest) const {
  return str("/v1/sessions/", http::encode_path(spec.session), rest);
}

Result<json::object> parse_event(const std::string& text) {
  boost::system::error_code wrong;
  json::value event = json::parse(text, wrong);
  if (wrong || !event.is_object()) return Error{Code::internal, "an event that is no JSON object"};
  return std::move(event.as_object());
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

namespace {

void show(Driver* self, const json::object& event) {
  if (self->spec.json) return self->out.text(wire::to_json(event) + "\n");
  EventText shown = describe(event, self->spec.style);
  if (shown.text.empty()) return;
  if (std::exchange(self->in_question, false)) self->out.note("");
  if (!shown.is_error) return self->out.text(shown.text);
  shown.text.pop_back();  // note() ends the line
  self->out.note(shown.text);
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
    self->calls[id] = {type == "agent.custom_tool_use", text_of(event, "name"),
                       call_summary(event)};
  if (type == "user.tool_confirmation" || type == "user.tool_result") {
    self->told.insert(text_of(event, "tool_use_id"));
    self->settled.insert(text_of(event, "tool_use_id"));
    self->asked_or_settled.notify();
  }
  if (type == "session.status_running") self->failed = false;
  if (type == "session.error" &&
      text_at(json::value(event), "/error/retry_status/type") != "retrying")
    self->failed = true;
  if (type == "session.status_terminated" || type == "session.deleted")
    self->end = {Driven::How::terminated};
  if (type != "session.status_idle") co_return ok;
  self->resuming = !ends_turn(event);
  if (self->resuming) {
    wait_for_people(self, event);
    co_return ok;
  }
  if (!self->anchor_seen) co_return ok;
  if (self->in_line && !self->interrupted) {
    CO_TRY(taken, co_await was_taken(self, text_of(event, "processed_at")));
    if (!taken) co_return ok;
  }
  bool well = text_at(json::value(event), "/stop_reason/type") == "end_turn" && !self->failed;
  self->end = {self->interrupted ? Driven::How::interrupted
               : well            ? Driven::How::done
                                 : Driven::How::failed};
  co_return ok;
}

// The history from the anchor on, oldest first; without an anchor from the last message on, which
// becomes it. After a break: back to where a whole page is known already.
Task<std::vector<json::object>> history(Driver* self) {
  std::vector<json::object> found;
  std::string page;
  for (;;) {
    CO_TRY(text, co_await self->brain.call(
                     "GET", self->path("/events?order=desc&limit=100") +
                                (page.empty() ? "" : "&page=" + http::encode_query(page))));
    CO_TRY(answer, parse_event(text));
    json::value* data = answer.if_contains("data");
    if (!data || !data->is_array()) co_return Error{Code::internal, "a history without 'data'"};
    bool news = false;
    for (json::value& item : data->as_array()) {
      if (!item.is_object()) continue;
      found.push_back(std::move(item.as_object()));
      std::string id = text_of(found.back(), "id");
      news |= !self->seen.contains(id);
      if (self->anchor.empty() && text_of(found.back(), "type") == "user.message")
        self->anchor = id;
      if (!id.empty() && id == self->anchor) {
        std::ranges::reverse(found);
        co_return found;
      }
    }
    std::string next = text_of(answer, "next_page");
    if (!news || next.empty() || next == page) break;
    page = std::move(next);
  }
  std::ranges::reverse(found);
  co_return found;
}

Task<void> take_history(Driver* self) {
  CO_TRY(events, co_await history(self));
  for (json::object& event : events) {
    CO_TRY_DO(co_await take(self, std::move(event)));
    if (self->end) co_return ok;
  }
  co_return ok;
}

using Events = std::unique_ptr<BrainClient::Events>;

// A stream, and what was said before it began. `why` there is none any more; nothing at first.
Task<Events> connect(Driver* self, std::optional<Error> why) {
  net::Deadline deadline(self->spec.lost_after);
  const bool missed = why || !self->spec.prompt;
  bool told = why && why->code == Code::gone;  // a clean end is no accident
  for (Millis pause = kFirstBackoff;; pause = std::min(pause * 2, kLongestBackoff)) {
    if (why) {
      if (is_final(*why)) co_return std::move(*why);
      if (deadline.left() <= 0ms) {
        self->end = {Driven::How::lost};
        co_return std::move(*why).with("the brain does not come back");
      }
      if (!std::exchange(told, true))
        self->out.note(str("glovebox: the connection was lost (", why->what, "); trying again …"));
      CO_TRY_DO(co_await net::sleep(pause));
    }
    auto stream = co_await self->brain.events(self->path("/events/stream"));
    auto read = stream && missed ? co_await take_history(self) : Result<void>(ok);
    if (stream && read) co_return std::move(*stream);
    why = stream ? std::move(read.error()) : std::move(stream.error());
  }
}

Task<void> begin(Driver* self) {
  if (self->spec.prompt) {
    CO_TRY(message, co_await say_prompt(self));
    self->anchor = message.id;
    self->in_line = message.processed_at.empty();
    if (self->anchor.empty()) co_return Error{Code::internal, "the message got no id"};
    self->interrupt.notify();
  } else if (self->anchor.empty()) {
    co_return Error{Code::conflict, "nothing was asked in this session yet: give a PROMPT"};
  }
  co_return ok;
}

Task<void> follow(Driver* self) {
  CO_TRY(stream, co_await connect(self, std::nullopt));
  CO_TRY_DO(co_await begin(self));
  while (!self->end) {
    auto text = co_await stream->next();
    if (!text) {
      CO_TRY(again, co_await connect(self, std::move(text.error())));
      stream = std::move(again);
      continue;
    }
    auto event = parse_event(*text);
    if (!event) continue;  // nobody can tell what it was; the history of the next connection has it
    CO_TRY_DO(co_await take(self, std::move(*event)));
  }
  co_return ok;
}

// Ctrl-C stops what the agent does, and is followed to the turn's end; a second one leaves, as any
// other signal does at once.
Task<void> hear_signals(Driver* self) {
  for (;;) {
    CO_TRY(number, co_await net::next_signal({SIGINT, SIGTERM, SIGHUP}));
    if (number == SIGINT && !self->interrupted) {
      self->interrupted = true;
      self->interrupt.notify();
      self->out.note("\nglovebox: interrupting it … (Ctrl-C again leaves it alone)");
      continue;
    }
    self->end = {Driven::How::left, number};
    co_return ok;
  }
}

Task<void> interrupt_when_told(Driver* self) {
  while (!self->interrupted || self->anchor.empty())  // what is not said yet cannot be stopped
    CO_TRY_DO(co_await self->interrupt.wait(net::kForever));
  auto said = co_await say_until_heard(self, R"({"events":[{"type":"user.interrupt"}]})");
  if (!said && said.error().code != Code::cancelled)
    self->out.note(str("glovebox: it cannot be interrupted: ", said.error().what));
  co_return co_await net::sleep(net::kForever);
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
                       ": its worker does not run ('glovebox up' or 'glovebox orchestrate' "
                       "starts one, 'glovebox work stats' shows the queue)"));
    co_return co_await net::sleep(net::kForever);
  }
}

Task<void> follow_or_leave(Driver* self) {
  auto turn = net::first_of(follow(self), hear_signals(self));
  auto people = net::first_of(ask_people(self), interrupt_when_told(self));
  auto both = net::first_of(std::move(turn), std::move(people));
  if (self->spec.environment.empty()) co_return co_await std::move(both);
  co_return co_await net::first_of(std::move(both), watch_workers(self));
}

}  // namespace

int Driven::code() const {
  switch (how) {
    case How::done: return 0;
    case How::failed: return 1;
    case How::terminated: return 5;
    case How::lost: return 6;
    case How::interrupted: return 128 + SIGINT;
    case How::left: return 128 + signal;
  }
  return 1;
}

Result<Driven> drive(BrainClient& brain, DriveSpec spec, Output& out) {
  BlockedSignals blocked({SIGINT, SIGTERM, SIGHUP});
  Driver driver{.brain = brain, .spec = std::move(spec), .out = out};
  auto ran = net::run(brain.loop(), follow_or_leave(&driver));
  if (ran) return driver.end.value_or(Driven{Driven::How::failed});
  // It was there, or somebody would have said so before.
  if (ran.error().code == Code::not_found && !driver.anchor.empty())
    driver.end = {Driven::How::terminated};
  if (!driver.end) return std::move(ran.error());
  out.note("glovebox: " + ran.error().what);
  return *driver.end;
}

}  // namespace glovebox::cli

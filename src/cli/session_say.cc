// What we say in a session, over a connection that may break.
#include <algorithm>
#include <boost/json.hpp>

#include "cli/json_text.h"
#include "cli/session_drive_impl.h"
#include "cli/wait.h"
#include "net/deadline.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

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

// What is neither the way there nor the way back, but a word of the brain.
bool is_refusal(const Error& error) {
  return is_final(error) || error.code == Code::conflict || error.code == Code::too_large;
}

}  // namespace

Task<Message> say_prompt(Driver* self) {
  Message before;
  if (!self->spec.fresh) {
    CO_TRY(last, co_await last_message(self));
    before = std::move(last);
  }
  net::Deadline deadline(self->spec.lost_after);
  for (;;) {
    auto sent = co_await post_message(self);
    // What was refused was refused; anything else leaves the question open.
    if (sent || is_refusal(sent.error()) || sent.error().code == Code::cancelled) co_return sent;
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

Task<void> say_until_heard(Driver* self, std::string events) {
  net::Deadline deadline(self->spec.lost_after);
  bool maybe_heard = false;
  for (Millis pause = kFirstBackoff;; pause = std::min(pause * 2, kLongestBackoff)) {
    auto sent = co_await self->brain.call("POST", self->path("/events"), events);
    if (sent) co_return ok;
    if (sent.error().code == Code::cancelled) co_return std::move(sent.error());
    // It may be refused because it had arrived the first time.
    if (is_refusal(sent.error()) && maybe_heard) co_return ok;
    if (is_refusal(sent.error()) || deadline.left() <= 0ms) co_return std::move(sent.error());
    maybe_heard = true;
    CO_TRY_DO(co_await net::sleep(pause));
  }
}

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

}  // namespace glovebox::cli

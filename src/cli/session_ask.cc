// Questions to the person who sits there, and what to type elsewhere.
#include <termios.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>

#include "cli/json_text.h"
#include "cli/session_drive_impl.h"
#include "cli/wait.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

Task<void> read_line(std::string* line) {
  for (;;) {
    CO_TRY_DO(co_await net::readable(STDIN_FILENO, net::kForever));
    char piece[256];
    ssize_t n = ::read(STDIN_FILENO, piece, sizeof piece);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) co_return Error{Code::gone, "nobody answers"};
    line->append(piece, static_cast<std::size_t>(n));
    if (line->ends_with('\n')) co_return ok;
  }
}

std::string shell_word(std::string_view text) {
  bool plain = text.find_first_not_of(
                   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == text.npos;
  return plain ? std::string(text) : str("'", text, "'");
}

// How to answer from elsewhere.
std::string how_to_answer(const Driver& self, const std::string& id, const Call& call) {
  std::string session = shell_word(self.spec.session);
  if (call.of_application)
    return str("glovebox: ", printable(call.name),
               " is a tool of the application, which answers with: glovebox sessions send ",
               session, " --event='{\"type\":\"user.custom_tool_result\",\"custom_tool_use_id\":\"",
               printable(id), "\",\"content\":[{\"type\":\"text\",\"text\":\"…\"}]}'");
  return str("glovebox: ", printable(call.name), " waits to be allowed: glovebox sessions confirm ",
             session, " ", printable(id), " allow|deny");
}

// Somebody else said it, or the turn is over without it.
Task<void> settled_elsewhere(Driver* self, std::string id) {
  while (!self->settled.contains(id))
    CO_TRY_DO(co_await self->asked_or_settled.wait(net::kForever));
  co_return ok;
}

// What was typed before we asked is no answer.
Task<void> ask(Driver* self, std::string id) {
  const Call& call = self->calls[id];
  ::tcflush(STDIN_FILENO, TCIFLUSH);
  CO_TRY_DO(write_fd(STDERR_FILENO, str("allow ", printable(call.name), "  ",
                                        printable(cut(call.summary, 1000)), " ? [y/N] ")));
  self->in_question = true;
  std::string line;
  auto asked = co_await net::first_of(read_line(&line), settled_elsewhere(self, id));
  const bool open = std::exchange(self->in_question, false);
  if (line.ends_with('\n')) {
    const std::string word = lower(trim(line));
    auto said =
        co_await say_until_heard(self, confirmation_events(id, word == "y" || word == "yes", ""));
    if (said || said.error().code == Code::cancelled) co_return said;
    // Somebody else may have been quicker.
    self->out.note(str("glovebox: ", said.error().what));
    co_return ok;
  }
  if (!asked && asked.error().code == Code::cancelled) co_return asked;
  if (open) self->out.note("");
  if (asked) co_return ok;
  self->spec.can_ask = false;  // they have closed their side
  self->out.note(how_to_answer(*self, id, call));
  co_return ok;
}

}  // namespace

void wait_for_people(Driver* self, const json::object& idle) {
  boost::system::error_code wrong;
  json::value event(idle);
  const json::value* ids = event.find_pointer("/stop_reason/event_ids", wrong);
  if (!ids || !ids->is_array()) return;
  std::vector<std::string> asking;
  for (const json::value& id : ids->as_array())
    if (id.is_string() && self->calls.contains(std::string(id.as_string())) &&
        self->told.insert(std::string(id.as_string())).second)
      asking.emplace_back(id.as_string());
  if (asking.empty()) {
    self->waiting_since = std::chrono::steady_clock::now();
    return;
  }
  if (!self->spec.json)
    self->out.text(self->spec.style.dim("· requires_action (it waits for your answer)") + "\n");
  for (const std::string& id : asking) {
    const Call& call = self->calls[id];
    if (self->spec.can_ask && !call.of_application)
      self->questions.push_back(id);
    else
      self->out.note(how_to_answer(*self, id, call));
  }
  self->asked_or_settled.notify();
}

Task<void> ask_people(Driver* self) {
  for (;;) {
    if (self->questions.empty()) {
      CO_TRY_DO(co_await self->asked_or_settled.wait(net::kForever));
      continue;
    }
    std::string id = std::move(self->questions.front());
    self->questions.pop_front();
    if (self->settled.contains(id)) continue;
    if (self->spec.can_ask)
      CO_TRY_DO(co_await ask(self, std::move(id)));
    else
      self->out.note(how_to_answer(*self, id, self->calls[id]));
  }
}

}  // namespace glovebox::cli

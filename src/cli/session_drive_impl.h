// What the files of `drive` share. Only for them.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "cli/session_drive.h"
#include "net/loop.h"

namespace boost::json {
class object;
}  // namespace boost::json

namespace glovebox::cli {

inline constexpr Millis kFirstBackoff{250}, kLongestBackoff{8'000};

struct Call {
  bool of_application = false;  // a custom tool
  std::string name, summary;
};

struct Driver {
  BrainClient& brain;
  DriveSpec spec;
  Output& out;

  std::set<std::string> seen;
  std::map<std::string, Call> calls;  // those that somebody may be asked about
  std::set<std::string> told;         // a person has been asked, or told how
  std::set<std::string> settled;      // there is a verdict, whoever's
  std::deque<std::string> questions;  // for the person who sits here
  bool in_question = false;           // stands at the end of the last line
  net::Event asked_or_settled;
  // The message whose turn this is. What came before it is of no interest here, also not an end.
  std::string anchor;
  bool anchor_seen = false, in_line = false;
  bool resuming = false;  // the next "running" only goes on after a tool call
  bool failed = false;
  bool interrupted = false;  // by Ctrl-C
  net::Event interrupt;
  std::optional<Driven> end;
  // Since when a tool call waits for a worker.
  std::optional<std::chrono::steady_clock::time_point> waiting_since;

  std::string path(std::string_view rest) const;
};

Result<boost::json::object> parse_event(const std::string& text);
// Of an answer: asking again would not help.
bool is_final(const Error& error);

// --- session_say.cc ---

struct Message {
  std::string id, text, processed_at;
};
// The prompt, once, also when the answer is lost: whether it arrived is then to be seen in the
// history.
Task<Message> say_prompt(Driver* self);
// What does no harm when it is said twice: until it has arrived, or is refused.
Task<void> say_until_heard(Driver* self, std::string events);

// --- session_ask.cc ---

// An idle session that needs something: tool calls are a worker's business, unless they wait for a
// verdict or are the application's own.
void wait_for_people(Driver* self, const boost::json::object& idle);
// Beside the stream: puts the questions, one after the other. Until it is cancelled.
Task<void> ask_people(Driver* self);

}  // namespace glovebox::cli

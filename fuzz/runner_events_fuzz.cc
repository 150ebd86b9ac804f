// What a worker hears from the service: whatever the bytes, an answer or an error; a result is
// always one the service takes; and whatever a session's events say, in whatever order and overlap,
// no call runs that was denied or answered. The first byte picks the decoder.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string_view>

#include "runner/calls.h"
#include "runner/event.h"
#include "runner/result.h"
#include "runner/work.h"

using namespace glovebox;
using namespace glovebox::runner;

static void must(bool holds) {
  if (!holds) std::abort();
}

static boost::json::value parsed(std::string_view text) {
  boost::system::error_code error;
  auto value = boost::json::parse(text, error, {}, {.max_depth = 2000});
  must(!error);
  return value;
}

static void result_is_sound(std::string_view content) {
  Event call;
  call.id = "sevt_1";
  call.custom = content.size() % 2;
  const auto event = parsed(result_event(call, {std::string(content), false}));
  const auto& blocks = event.at("content").as_array();
  must(!blocks.empty());
  for (const auto& block : blocks) {
    const auto& type = block.at("type").as_string();
    must(type == "text" || type == "image" || type == "document" || type == "search_result");
    if (type == "text") must(!block.at("text").as_string().empty());
    if (type == "image" || type == "document") must(block.at("source").is_object());
  }
}

// One line, one step: "<" and ">" stand around a reading of the history ("!" where it fails), "+"
// and
// "-" take the next call and answer it or not; all others are events.
static void calls_are_sound(std::string_view text) {
  Calls calls(60s, [](std::string_view tool) { return tool != "theirs"; });
  Calls::Time now{};
  std::set<std::string> settled, denied;
  bool reading = false;
  for (const std::string& line : split(text, '\n')) {
    now += 1s;
    if (line == "<") {
      if (!std::exchange(reading, true)) calls.begin_history();
    } else if (line == ">" || line == "!") {
      if (!std::exchange(reading, false)) continue;
      line == ">" ? calls.end_history(now) : calls.fail_history(now);
    } else if (line == "+" || line == "-") {
      auto call = calls.next();
      if (!call) continue;
      must(!calls.next());
      must(!settled.contains(call->id));
      must(!denied.contains(call->id) || call->permission != "deny");
      must(call->name != "theirs");
      must(!calls.deadline());  // the countdown never runs over a call
      if (line == "+") settled.insert(call->id);
      calls.done(line == "+", now);
    } else if (auto event = decode_event(line)) {
      if (event->kind == Event::Kind::tool_use && event->permission == "deny")
        denied.insert(event->id);
      if (event->kind == Event::Kind::result && !event->call.empty()) settled.insert(event->call);
      reading ? calls.history(*event, now) : calls.live(*event, now);
    }
  }
  (void)calls.open();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 7) {
    case 0:
      if (auto work = decode_work(text); work && *work) {
        must(!(*work)->id.empty() && !(*work)->kind.empty());
        must((*work)->session_id.empty() || (*work)->kind == "session");
      }
      break;
    case 1:
      if (auto beat = decode_beat(text)) must(beat->accepted && beat->ttl_seconds >= 0);
      must(!decode_refused_beat(text).accepted);
      break;
    case 2:
      if (auto event = decode_event(text); event && event->kind == Event::Kind::tool_use) {
        (void)parsed(event->input);
      }
      break;
    case 3:
      if (auto page = decode_events(text)) must(page->events.size() <= text.size());
      break;
    case 4: (void)sessions_token(text); break;
    case 5: result_is_sound(text); break;
    case 6: calls_are_sound(text); break;
  }
  return 0;
}

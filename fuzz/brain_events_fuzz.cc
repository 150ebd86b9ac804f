// What a session hears: events of clients, the stream of a model, and its own log when that is
// damaged. Whatever the bytes, an answer or an error; and what was taken has the shape it was said
// to have. The first byte picks the decoder.
#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "brain/client_events.h"
#include "brain/conversation.h"
#include "brain/messages_stream.h"
#include "brain/rehearsal_steps.h"
#include "brain/scenario.h"
#include "brain/session_state.h"
#include "http/sse.h"

using namespace glovebox;
using namespace glovebox::brain;
namespace json = boost::json;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

std::optional<json::value> parse(std::string_view text) {
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error) return std::nullopt;
  return value;
}

// What was stored can be sent again and is stored the same.
void client_events(std::string_view text, ClientEvents what) {
  auto value = parse(text);
  if (!value || !value->is_array()) return;
  auto checked = check_client_events(value->get_array(), what);
  if (!checked) {
    must(checked.error().code == Code::invalid && !checked.error().what.empty());
    return;
  }
  must(checked->size() == value->get_array().size());
  json::array again;
  for (const ClientEvent& event : *checked) again.push_back(json::parse(event.json));
  auto twice = check_client_events(again, what);
  must(twice && twice->size() == checked->size());
  for (std::size_t i = 0; i < again.size(); ++i) {
    json::object first = again[i].as_object(), second = json::parse((*twice)[i].json).as_object();
    must(first.at("type").as_string() == (*checked)[i].type);
    first.erase("id");
    second.erase("id");
    must(first == second);
  }
}

struct Heard {
  bool done = false, failed = false;
  std::string content, text;
};

Heard hear(std::string_view bytes, std::size_t piece) {
  Heard heard;
  ModelListener listener;
  listener.text = [&heard](std::size_t, std::string_view text) { heard.text += text; };
  MessagesStream stream(std::move(listener));
  http::SseParser events(4096);
  while (!bytes.empty() && !heard.failed) {
    heard.failed = !events.feed(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    while (auto event = events.next())
      if (!heard.failed) heard.failed = !stream.feed(event->event, event->data);
  }
  heard.done = stream.done();
  if (heard.done) heard.content = stream.reply().content;
  return heard;
}

void content_is_sound(const std::string& content) {
  auto blocks = parse(content);
  must(blocks && blocks->is_array());
  for (const json::value& block : blocks->get_array()) {
    must(block.is_object() && block.get_object().contains("type"));
    if (block.at("type") == json::value("tool_use")) must(block.at("input").is_object());
  }
}

void model_stream(std::string_view bytes, std::size_t piece) {
  Heard whole = hear(bytes, bytes.size()), pieces = hear(bytes, piece);
  must(whole.done == pieces.done && whole.content == pieces.content);
  if (!whole.failed) must(whole.text == pieces.text);
  if (whole.done) content_is_sound(whole.content);
}

void whole_message(std::string_view text) {
  MessagesStream stream({});
  if (!stream.feed_message(text)) return;
  must(stream.done());
  content_is_sound(stream.reply().content);
}

// A log of "type \t json \t memo" lines.
void damaged_log(std::string_view text) {
  std::vector<Event> events;
  SessionState state;
  for (const std::string& line : split(text, '\n')) {
    auto parts = split(line, '\t');
    parts.resize(3);
    Event event{.seq = static_cast<std::int64_t>(events.size() + 1),
                .id = str("e", events.size()),
                .type = parts[0],
                .processed_at = static_cast<Micros>(line.size() % 2),
                .json = parts[1],
                .memo = parts[2]};
    state.apply(event);
    events.push_back(std::move(event));
  }
  must(state.last_seq == static_cast<std::int64_t>(events.size()));
  Agent agent{.model = "m", .offered = "[]"};
  Conversation talk, asked_often;
  for (const Event& event : events) {
    talk.add(event);
    asked_often.add(event);
    (void)asked_often.request(agent, {});
  }
  for (int harder : {0, kHardest})
    if (auto request = talk.request(agent, {.context_tokens = 2'000, .harder = harder})) {
      auto same = asked_often.request(agent, {.context_tokens = 2'000, .harder = harder});
      must(same && *same == *request);
      auto value = parse(*request);
      must(value && !value->at("messages").as_array().empty());
      must(value->at("messages").at(0).at("role") == json::value("user"));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0: client_events(text, ClientEvents::sent); break;
    case 1: client_events(text, ClientEvents::initial); break;
    case 2: model_stream(text, data[0] / 8 % 16 + 1u); break;
    case 3: whole_message(text); break;
    case 4: damaged_log(text); break;
    case 5: (void)Agent::parse(std::string(text)); break;
    case 6:
      // Prompts come out of JSON: they are UTF-8.
      for (const Step& step : parse_steps(valid_utf8(text), "last.txt"))
        must(step.tool.empty() || (parse(step.input) && parse(step.input)->is_object()));
      break;
    case 7:
      if (auto scenario = Scenario::parse(text, "fuzz.json")) (void)scenario->next({"a", "b"});
      break;
  }
  return 0;
}
